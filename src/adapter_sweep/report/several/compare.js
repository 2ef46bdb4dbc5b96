"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plots = data.panels.map((_, index) => document.getElementById("plot" + index));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let printing = false;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const studyColour = (study) => study[dark.matches && !printing ? "dark" : "light"];

  function traces(panel) {
    return panel.lines.flatMap((line, index) => {
      const study = data.studies[index], paint = studyColour(study), group = { legendgroup: String(index) };
      const points = (set, extra) => ({
        ...set, ...group, type: "scatter", mode: "markers", name: study.name,
        hovertemplate: "%{text}<extra></extra>", marker: { symbol: study.shape, color: paint, ...extra },
      });
      const many = line.quiet.x.length > 300;
      return [
        { x: line.steps[0], y: line.steps[1], ...group, type: "scatter", mode: "lines", hoverinfo: "skip",
          showlegend: false, line: { shape: panel.step, color: paint, width: 1.8 } },
        { ...points(line.quiet, { size: many ? 4 : 6, opacity: many ? 0.2 : 0.35 }), showlegend: false },
        { ...points(line.front, { size: 11, line: { width: 1, color: colour("paper") } }), showlegend: true },
      ];
    });
  }

  function layout(panel) {
    const soft = colour("soft");
    const axis = { gridcolor: colour("grid"), linecolor: soft, zeroline: false, automargin: true, ticks: "outside",
                   tickcolor: soft };
    const range = panel.log ? panel.range.map(Math.log10) : panel.range;
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: "zoom",
      font: { family: 'system-ui, "DejaVu Sans", sans-serif', size: 12, color: colour("ink") },
      margin: { l: 72, r: 12, t: 34, b: 52 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: colour("ink"), orientation: "v" },
      hoverlabel: { align: "left", bgcolor: colour("wash"), bordercolor: soft, font: { color: colour("ink") } },
      xaxis: { ...axis, type: panel.log ? "log" : "linear", range,
               ...(panel.log ? { tickformat: "~s", dtick: panel.range[1] / panel.range[0] < 300 ? "D2" : 1 } : {}),
               title: { text: panel.title, font: { size: 13 } } },
      yaxis: { ...axis, range: data.y.range, title: { text: data.y.title, font: { size: 13 }, standoff: 10 } },
    };
  }

  // plotly.js can offer to send a chart to its makers' server: not from this page.
  const config = {
    responsive: true, displaylogo: false, displayModeBar: "hover", showSendToCloud: false, plotlyServerURL: "",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };
  const draw = () => plots.forEach((plot, index) =>
    Plotly.react(plot, traces(data.panels[index]), layout(data.panels[index]), config));
  draw();
  dark.addEventListener("change", draw);
  window.addEventListener("beforeprint", () => { printing = true; draw(); });
  window.addEventListener("afterprint", () => { printing = false; draw(); });
})();
