// Parallel coordinates on a canvas, and the filters that narrow them and the table of all trials.
// plotly's own need WebGL programs made from text, which the page's policy forbids.
const axes = columns
  .filter((column) => data.trials.params.includes(column) || data.y.objectives.includes(column.key))
  .map((column) => {
    const found = column.values.filter((value, trial) => value !== null && complete[trial]);
    const words = column.words ? column.words.filter((word) => found.includes(word)) : null;
    const low = words ? 0 : found.reduce((a, b) => Math.min(a, b), Infinity);
    const high = words ? words.length - 1 : found.reduce((a, b) => Math.max(a, b), -Infinity);
    const log = !words && column.log && low > 0;
    const place = (value) => {
      const at = words ? words.indexOf(value) : log ? Math.log(value) : value;
      const [from, to] = log ? [Math.log(low), Math.log(high)] : [low, high];
      return to > from ? (at - from) / (to - from) : 0.5;
    };
    return { column, words, low, high, place, from: 0, to: 1, some: found.length > 0, word: "" };
  })
  .filter((axis) => axis.some);

const listeners = [];
const passes = (trial) => axes.every((axis) => {
  const value = axis.column.values[trial];
  if (axis.words) return axis.word === "" || value === axis.words[Number(axis.word)];
  if (axis.from === 0 && axis.to === 1) return true;
  const at = value === null ? NaN : axis.place(value);
  return at >= axis.from - 1e-9 && at <= axis.to + 1e-9;
});

function drawParallel(canvas) {
  const width = canvas.clientWidth, height = canvas.clientHeight, scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const top = 44, bottom = height - 16, left = 56, right = width - 56;
  const x = (index) => (axes.length > 1 ? left + (index * (right - left)) / (axes.length - 1) : width / 2);
  const y = (share) => bottom - share * (bottom - top);
  const shown = [...Array(count).keys()].filter((trial) => complete[trial]);
  const kept = shown.filter(passes);
  const many = kept.length > 500;
  const stroke = (trials, style) => {
    for (const trial of trials) {
      pen.strokeStyle = style.colour ?? groupColour(data.group[trial]);
      pen.beginPath();
      axes.forEach((axis, index) => {
        const value = axis.column.values[trial];
        if (value !== null) pen.lineTo(x(index), y(axis.place(value)));
      });
      pen.stroke();
    }
  };
  pen.lineWidth = 1;
  pen.globalAlpha = many ? 0.06 : 0.35;
  if (kept.length < shown.length) stroke(shown.filter((trial) => !passes(trial)).slice(0, 2000), { colour: colour("line") });
  pen.globalAlpha = many ? 0.12 : 0.55;
  stroke(kept.filter((trial) => !onFront.has(trial)), {});
  pen.globalAlpha = 1;
  pen.lineWidth = 2.5;
  stroke(kept.filter((trial) => onFront.has(trial)), {});
  pen.lineWidth = 1;
  const room = (right - left) / Math.max(1, axes.length - 1) - 12;
  const fitted = (text) => {
    let short = text;
    while (short.length > 3 && pen.measureText(short).width > room) short = short.slice(0, -2).trimEnd() + "…";
    return short;
  };
  axes.forEach((axis, index) => {
    const at = x(index), align = index === 0 ? "left" : index === axes.length - 1 ? "right" : "center";
    const write = (words, baseline, ink) => {
      pen.font = `${ink === "ink" ? "600 " : ""}12px system-ui, "DejaVu Sans", sans-serif`;
      const text = fitted(words), long = pen.measureText(text).width + 6;
      const edge = align === "left" ? 4 : align === "right" ? width - 4 : at;
      pen.fillStyle = colour("paper");
      pen.globalAlpha = 0.85;
      pen.fillRect(edge - (align === "left" ? 2 : align === "right" ? long - 4 : long / 2), baseline - 11, long, 15);
      pen.globalAlpha = 1;
      pen.fillStyle = colour(ink);
      pen.textAlign = align;
      pen.fillText(text, edge, baseline);
    };
    pen.strokeStyle = colour("soft");
    pen.beginPath();
    pen.moveTo(at, top);
    pen.lineTo(at, bottom);
    pen.stroke();
    write(axis.column.name, 14, "ink");
    if (axis.words) axis.words.forEach((word, place) => write(word, y(axis.place(word)) + 4, "soft"));
    else {
      write(read(axis.column, axis.high), top - 8, "soft");
      write(read(axis.column, axis.low), bottom + 14, "soft");
    }
  });
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function filterFor(axis, changed) {
  const name = axis.column.name;
  if (axis.words) {
    const select = element("select", {}, element("option", { value: "" }, "any"),
      ...axis.words.map((word, place) => element("option", { value: String(place) }, cut(word))));
    select.addEventListener("change", () => { axis.word = select.value; changed(); });
    axis.reset = () => { axis.word = select.value = ""; };
    return element("label", { className: "filter" }, element("span", {}, name), select);
  }
  const sorted = [...new Set(axis.column.values.filter((value, trial) => value !== null && complete[trial]))]
    .sort((a, b) => a - b);
  const slider = (which, words) => {
    const input = element("input", { type: "range", min: 0, max: sorted.length - 1, step: 1 });
    input.value = which === "from" ? 0 : sorted.length - 1;
    input.setAttribute("aria-label", `${name}, ${words}`);
    return input;
  };
  const from = slider("from", "at least"), to = slider("to", "at most"), said = element("output", {});
  const update = () => {
    const low = sorted[from.value], high = sorted[to.value];
    axis.from = Number(from.value) === 0 ? 0 : axis.place(low);
    axis.to = Number(to.value) === sorted.length - 1 ? 1 : axis.place(high);
    from.setAttribute("aria-valuetext", read(axis.column, low));
    to.setAttribute("aria-valuetext", read(axis.column, high));
    said.textContent = `${read(axis.column, low)} to ${read(axis.column, high)}`;
  };
  from.addEventListener("input", () => { if (+from.value > +to.value) to.value = from.value; update(); changed(); });
  to.addEventListener("input", () => { if (+to.value < +from.value) from.value = to.value; update(); changed(); });
  axis.reset = () => { from.value = 0; to.value = sorted.length - 1; update(); };
  update();
  return element("fieldset", { className: "filter" }, element("legend", {}, name), from, to, said);
}

const canvas = document.getElementById("parallel");
if (canvas && axes.length) {
  chart("parallel", drawParallel);
  const status = document.getElementById("kept");
  const tell = () => {
    const all = complete.filter(Boolean).length;
    const kept = complete.filter((one, trial) => one && passes(trial)).length;
    status.textContent = `${kept.toLocaleString("en-US")} of ${all.toLocaleString("en-US")} complete trials shown`;
  };
  let waiting = 0;
  const changed = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => { drawParallel(canvas); tell(); listeners.forEach((listen) => listen()); });
  };
  const all = element("button", { type: "button" }, "Show all");
  all.addEventListener("click", () => { axes.forEach((axis) => axis.reset()); changed(); });
  document.getElementById("filters").append(...axes.map((axis) => filterFor(axis, changed)), all);
  window.addEventListener("resize", () => { if (charts.find((one) => one.place === canvas).drawn) changed(); });
  tell();
}
