// The front: the score over each of two costs.
function panelTraces(panel) {
  const x = metric(panel.key), at = data.picks.map(([trial]) => trial).filter((trial) => x.values[trial] !== null);
  const line = {
    x: panel.line[0], y: panel.line[1], type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false,
    line: { shape: panel.step, color: colour("soft"), width: 1.5 },
  };
  const rings = {
    x: at.map((trial) => x.values[trial]), y: at.map((trial) => score.values[trial]), type: "scatter", mode: "markers",
    hoverinfo: "skip", showlegend: false,
    marker: { size: 21, symbol: "circle-open", color: colour("ink"), line: { width: 2 } },
  };
  return [line, ...points(x), rings];
}

function panelLayout(panel) {
  const soft = colour("soft"), shapes = [], annotations = [], x = metric(panel.key);
  const position = (value) => (panel.log ? Math.log10(value) : value);
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
    annotations.push({ xref: "paper", x: 1, xanchor: "right", y, yanchor: "bottom", showarrow: false, text: safe(text),
                       font: { size: 11, color: soft } });
  }
  data.beyond.forEach(([text, below], index) => annotations.push({
    xref: "paper", x: 1, xanchor: "right", yref: "paper", y: below ? 0.005 + 0.05 * index : 0.995 - 0.05 * index,
    yanchor: below ? "bottom" : "top", showarrow: false, text: safe(text), font: { size: 11, color: soft } }));
  data.picks.forEach(([trial, words], order) => {
    if (x.values[trial] === null) return;
    const at = position(x.values[trial]), ends = panel.range.map(position);
    const share = (at - ends[0]) / (ends[1] - ends[0]);
    annotations.push({
      x: at, y: score.values[trial], text: `<b>${safe(data.labels[data.front.indexOf(trial)])}</b><br>${words}`,
      align: "left", ax: order ? (share > 0.6 ? -60 : 60) : (share > 0.5 ? -70 : 70), ay: order ? 52 : -6,
      arrowcolor: soft, arrowwidth: 1, arrowhead: 0, standoff: 11, bgcolor: colour("paper"), opacity: 0.92,
      font: { size: 12, color: colour("ink") } });
  });
  return {
    ...plotLook(), shapes, annotations,
    xaxis: { ...axisLook(), type: panel.log ? "log" : "linear", range: panel.range.map(position),
             ...(panel.log ? logTicks(...panel.range) : {}), title: axisTitle(panel.title) },
    yaxis: { ...axisLook(), range: data.y.range, title: { ...axisTitle(data.y.title), standoff: 10 } },
  };
}

data.panels.forEach((panel, index) => chart(`plot${index}`, (place) => {
  Plotly.react(place, panelTraces(panel), panelLayout(panel), plotlyConfig);
}));

// A row of the front's table, pointed at or focused, shows its trial in both panels.
const panelPlots = () => charts.filter((one) => one.drawn && /^plot\d/.test(one.place.id)).map((one) => one.place);
document.querySelectorAll("#front tbody tr").forEach((row) => {
  const trial = data.trials.number.indexOf(Number.parseInt(row.querySelector("th").textContent, 10));
  const show = () => panelPlots().forEach((plot, index) => {
    const point = split(metric(data.panels[index].key))[1].indexOf(trial);
    if (point >= 0) Plotly.Fx.hover(plot, [{ curveNumber: 2, pointNumber: point }]);
  });
  const hide = () => panelPlots().forEach((plot) => Plotly.Fx.unhover(plot));
  row.tabIndex = 0;
  row.addEventListener("mouseenter", show);
  row.addEventListener("focus", show);
  row.addEventListener("mouseleave", hide);
  row.addEventListener("blur", hide);
});
