// Slices: the score over one searched number. And the hypervolume, trial by trial.
data.slices.forEach((slice, index) => chart(`slice${index}`, (place) => {
  const x = data.trials.params.find((column) => column.key === slice.key);
  const found = split(x).flat().map((trial) => x.values[trial]);
  // Not Math.min(...found): thousands of arguments are too many for some browsers.
  const low = found.reduce((a, b) => Math.min(a, b)), high = found.reduce((a, b) => Math.max(a, b));
  Plotly.react(place, points(x), {
    ...plotLook(),
    xaxis: { ...axisLook(), type: slice.log ? "log" : "linear", title: axisTitle(slice.name),
             ...(slice.log ? { tickformat: "~g", dtick: high / low < 300 ? "D2" : 1 } : {}) },
    yaxis: { ...axisLook(), range: data.y.range, title: { ...axisTitle(data.y.title), standoff: 10 } },
  }, plotlyConfig);
}));

if (data.volume) chart("volume", (place) => {
  const line = {
    x: data.volume.x, y: data.volume.y, type: "scatter", mode: data.volume.x.length < 60 ? "lines+markers" : "lines",
    hovertemplate: "trial %{x}<br>hypervolume %{y:.3f}<extra></extra>", showlegend: false,
    line: { shape: "hv", color: colour("focus"), width: 2 }, marker: { size: 6, color: colour("focus") },
  };
  Plotly.react(place, [line], {
    ...plotLook(),
    xaxis: { ...axisLook(), title: axisTitle("trial"), rangemode: "tozero", tickformat: ",d",
             ...(data.volume.x.length < 10 ? { dtick: 1 } : {}) },
    yaxis: { ...axisLook(), title: { ...axisTitle("hypervolume (higher is better)"), standoff: 10 },
             rangemode: "tozero" },
  }, plotlyConfig);
});
