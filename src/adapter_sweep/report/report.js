"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plots = data.panels.map((_, index) => document.getElementById("plot" + index));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let printing = false;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const groupColour = (index) => data.groups[index][dark.matches && !printing ? "dark" : "light"];
  const texts = (points) => points.t.map((place) => data.hover[place]);

  function markers(points, size, extra) {
    return {
      x: points.x, y: points.y, text: texts(points), type: "scatter", mode: "markers",
      hovertemplate: "%{text}<extra></extra>", showlegend: false,
      marker: { size, symbol: points.g.map((g) => data.groups[g].shape), color: points.g.map(groupColour), ...extra },
    };
  }

  function traces(panel) {
    const quiet = panel.quiet.x.length, front = panel.front;
    const line = {
      x: panel.line[0], y: panel.line[1], type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false,
      line: { shape: panel.step, color: colour("soft"), width: 1.5 },
    };
    const chosen = data.picks.map(([trial]) => front.t.findIndex((place) => data.trials[place] === trial));
    const at = chosen.filter((index) => index >= 0);
    const rings = {
      x: at.map((index) => front.x[index]), y: at.map((index) => front.y[index]), type: "scatter", mode: "markers",
      hoverinfo: "skip", showlegend: false,
      marker: { size: 21, symbol: "circle-open", color: colour("ink"), line: { width: 2 } },
    };
    const members = markers(front, 12, { line: { width: 1, color: colour("paper") } });
    if (front.low.some((end) => end !== null)) {
      members.error_x = { type: "data", symmetric: false, array: front.high, arrayminus: front.low, width: 0,
                          thickness: 1.2, color: colour("soft") };
    }
    return [line, markers(panel.quiet, quiet > 500 ? 4 : 7, { opacity: quiet > 500 ? 0.25 : 0.4, line: { width: 0 } }),
            members, rings];
  }

  function layout(panel) {
    const soft = colour("soft"), shapes = [], annotations = [];
    const position = (x) => (panel.log ? Math.log10(x) : x);
    const across = (y0, y1, fill) => ({ type: "rect", xref: "paper", x0: 0, x1: 1, y0, y1, fillcolor: fill,
                                        line: { width: 0 }, layer: "below" });
    if (data.band) shapes.push(across(data.band[0], data.band[1], colour("band")));
    if (panel.noise !== null) {
      shapes.push({ ...across(0, 1, colour("floor")), xref: "x", yref: "paper", x0: 1 - panel.noise, x1: 1 + panel.noise });
      annotations.push({ xref: "x", yref: "paper", x: 1, y: 0.99, yanchor: "top", textangle: -90, showarrow: false,
                         text: "noise floor ± " + panel.noise.toFixed(3), font: { size: 11, color: soft } });
    }
    for (const [text, y] of data.anchors) {
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, layer: "below",
                    line: { color: soft, width: 1, dash: "dash" } });
      annotations.push({ xref: "paper", x: 1, xanchor: "right", y, yanchor: "bottom", showarrow: false, text,
                         font: { size: 11, color: soft } });
    }
    data.beyond.forEach(([text, below], index) => annotations.push({
      xref: "paper", x: 1, xanchor: "right", yref: "paper", y: below ? 0.005 + 0.05 * index : 0.995 - 0.05 * index,
      yanchor: below ? "bottom" : "top", showarrow: false, text, font: { size: 11, color: soft } }));
    data.picks.forEach(([trial, words], order) => {
      const index = panel.front.t.findIndex((place) => data.trials[place] === trial);
      if (index < 0) return;
      const x = position(panel.front.x[index]), ends = panel.range.map(position);
      const share = (x - ends[0]) / (ends[1] - ends[0]);
      annotations.push({
        x, y: panel.front.y[index], text: "<b>" + panel.front.label[index] + "</b><br>" + words,
        align: "left", ax: order ? (share > 0.6 ? -60 : 60) : (share > 0.5 ? -70 : 70), ay: order ? 52 : -6,
        arrowcolor: soft, arrowwidth: 1, arrowhead: 0, standoff: 11, bgcolor: colour("paper"), opacity: 0.92,
        font: { size: 12, color: colour("ink") } });
    });
    const axis = { gridcolor: colour("grid"), linecolor: soft, zeroline: false, automargin: true, ticks: "outside",
                   tickcolor: soft };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: "zoom",
      font: { family: 'system-ui, "DejaVu Sans", sans-serif', size: 12, color: colour("ink") },
      margin: { l: 72, r: 12, t: 34, b: 52 }, shapes, annotations,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: colour("ink") },
      hoverlabel: { align: "left", bgcolor: colour("wash"), bordercolor: soft, font: { color: colour("ink") } },
      xaxis: { ...axis, type: panel.log ? "log" : "linear", range: panel.range.map(position),
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

  // A row of the front's table, pointed at or focused, shows its trial in both panels.
  const show = (trial) => plots.forEach((plot, index) => {
    const point = data.panels[index].front.t.findIndex((place) => data.trials[place] === trial);
    if (point >= 0) Plotly.Fx.hover(plot, [{ curveNumber: 2, pointNumber: point }]);
  });
  const hide = () => plots.forEach((plot) => Plotly.Fx.unhover(plot));
  document.querySelectorAll("#front tbody tr").forEach((row) => {
    const trial = Number.parseInt(row.querySelector("th").textContent, 10);
    row.tabIndex = 0;
    row.addEventListener("mouseenter", () => show(trial));
    row.addEventListener("focus", () => show(trial));
    row.addEventListener("mouseleave", hide);
    row.addEventListener("blur", hide);
  });
})();
