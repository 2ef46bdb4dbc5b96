// What every part of the page shares: the data, the theme, and how a number reads.
const data = JSON.parse(document.getElementById("data").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
let printing = false;

const count = data.trials.number.length;
const values = (column) => column.v ?? column.at.map((place) => (place < 0 ? null : (column.d ?? column.words)[place]));
const columns = [...data.trials.params, ...data.trials.metrics];
for (const column of columns) {
  column.values = values(column);
  if (column.low) [column.low, column.high] = [values(column.low), values(column.high)];
}
const metric = (key) => data.trials.metrics.find((column) => column.key === key);
const states = values(data.trials.state), reasons = values(data.trials.reason), commands = values(data.trials.commands);
const onFront = new Set(data.front);
const complete = states.map((state) => state === data.complete);
const score = metric(data.y.key);

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const groupColour = (index) => data.groups[index][dark.matches && !printing ? "dark" : "light"];

function read(column, value) {
  if (value === null) return "";
  if (typeof value !== "number") return String(value);
  if (column.count) return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  if (/_(ms|seconds)$/.test(column.key)) return value.toFixed(2);
  if (column.score || column.key.includes("_ratio")) return value.toFixed(3);
  return String(Number(value.toPrecision(data.trials.params.includes(column) ? 3 : 4)));
}

function reading(column, trial) {
  const middle = read(column, column.values[trial]), ends = [column.low?.[trial] ?? null, column.high?.[trial] ?? null];
  return middle && !ends.includes(null) ? `${middle} (${ends.map((end) => read(column, end)).join(" to ")})` : middle;
}

const shellWord = (word, trial) => {
  if (typeof word === "string") return word;
  const column = data.trials.params[word];
  return column.tokens ? column.tokens[column.at[trial]] : `${column.key}=${column.values[trial]}`;
};
const command = (trial) => ["adapter-sweep trial", ...commands[trial].map((word) => shellWord(word, trial))].join(" ");

// plotly reads pseudo-HTML in every text, so what may be foreign is escaped for it.
const safe = (text) => String(text).replace(/[&<>"']/g, (mark) => `&#${mark.charCodeAt(0)};`);
const cut = (text) => (text.length > 80 ? text.slice(0, 79) + "…" : text);

function hover(trial) {
  const lines = [`trial ${data.trials.number[trial]}${onFront.has(trial) ? ", on the front" : ""}`];
  for (const column of columns) {
    const text = reading(column, trial);
    if (text) lines.push(`${column.name} ${text}`);
  }
  return lines.slice(0, 16).map((line) => safe(cut(line))).join("<br>");
}

// Charts are drawn when they come into view, again when the theme changes, and all of them before the page is printed.
const charts = [];
function chart(id, draw) {
  const place = document.getElementById(id);
  if (!place) return;
  const one = { place, draw, drawn: false };
  charts.push(one);
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    if (!one.drawn) refresh(one);
  }, { rootMargin: "300px" }).observe(place);
}
function refresh(one) {
  one.drawn = true;
  one.draw(one.place);
}
const refreshAll = (every) => charts.filter((one) => every || one.drawn).forEach(refresh);
dark.addEventListener("change", () => refreshAll(false));

let closed = [];
window.addEventListener("beforeprint", () => {
  printing = true;
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((one) => { one.open = true; });
  refreshAll(true);
});
window.addEventListener("afterprint", () => {
  printing = false;
  closed.forEach((one) => { one.open = false; });
  refreshAll(false);
});

// plotly.js can offer to send a chart to its makers' server: not from this page.
const plotlyConfig = {
  responsive: true, displaylogo: false, displayModeBar: "hover", showSendToCloud: false, plotlyServerURL: "",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};

const axisLook = () => ({
  gridcolor: colour("grid"), linecolor: colour("soft"), zeroline: false, automargin: true, ticks: "outside",
  tickcolor: colour("soft"),
});
const axisTitle = (text) => ({ text: safe(text), font: { size: 13 } });
const logTicks = (low, high) => ({ tickformat: "~s", dtick: high / low < 300 ? "D2" : 1 });

function plotLook() {
  const soft = colour("soft"), ink = colour("ink");
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: "zoom",
    font: { family: 'system-ui, "DejaVu Sans", sans-serif', size: 12, color: ink },
    margin: { l: 72, r: 12, t: 34, b: 52 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: ink },
    hoverlabel: { align: "left", bgcolor: colour("wash"), bordercolor: soft, font: { color: ink } },
  };
}

function markers(trials, x, y, size, extra) {
  return {
    x: trials.map((trial) => x[trial]), y: trials.map((trial) => y[trial]), type: "scatter", mode: "markers",
    text: trials.map(hover), hovertemplate: "%{text}<extra></extra>", showlegend: false,
    marker: {
      size, symbol: trials.map((trial) => data.groups[data.group[trial]].shape),
      color: trials.map((trial) => groupColour(data.group[trial])), ...extra,
    },
  };
}

function bars(trials, column) {
  const away = (ends, sign) => trials.map((trial) => Math.max(0, sign * (ends[trial] - column.values[trial])));
  return { type: "data", symmetric: false, array: away(column.high, 1), arrayminus: away(column.low, -1), width: 0,
           thickness: 1.2, color: colour("soft") };
}

// The complete trials that have both numbers: those on the front, and the others.
function split(x) {
  const both = [...Array(count).keys()].filter(
    (trial) => complete[trial] && x.values[trial] !== null && score.values[trial] !== null);
  return [both.filter((trial) => !onFront.has(trial)), both.filter((trial) => onFront.has(trial))];
}

function points(x) {
  const [quiet, front] = split(x), many = quiet.length > 500;
  const members = markers(front, x.values, score.values, 12, { line: { width: 1, color: colour("paper") } });
  if (score.low) members.error_y = bars(front, score);
  if (x.low) members.error_x = bars(front, x);
  const others = { size: many ? 4 : 7, look: { opacity: many ? 0.25 : 0.4, line: { width: 0 } } };
  return [markers(quiet, x.values, score.values, others.size, others.look), members];
}
