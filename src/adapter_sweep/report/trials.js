// The table of all trials: a page of rows at a time, so that ten thousand of them stay usable.
const PAGE = 50;
const table = document.getElementById("trials-table");
const search = document.getElementById("search"), stateFilter = document.getElementById("state");
const onlyFront = document.getElementById("only-front");
let order = { column: null, down: false }, start = 0, opened = new Set();

const wanted = () => {
  const words = search.value.trim().toLowerCase();
  const text = (trial) => [String(data.trials.number[trial]), reasons[trial], data.trials.run[trial],
    ...data.trials.params.map((column) => read(column, column.values[trial]))].join(" ").toLowerCase();
  return [...Array(count).keys()].filter((trial) =>
    (!stateFilter.value || states[trial] === stateFilter.value) && (!onlyFront.checked || onFront.has(trial))
    && passes(trial) && (!words || text(trial).includes(words)));
};

function sorted(trials) {
  if (!order.column) return trials;
  const place = (trial) => {
    const value = order.column.values[trial];
    return order.column.words && value !== null ? order.column.words.indexOf(value) : value;
  };
  // What was not measured comes last, whichever way.
  return trials.sort((a, b) => {
    const [x, y] = [place(a), place(b)];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    return (order.down ? y - x : x - y) || a - b;
  });
}

function details(trial, span) {
  const cell = element("td", { colSpan: span });
  if (reasons[trial]) cell.append(element("p", {}, reasons[trial]));
  if (commands[trial].length) {
    cell.append(element("p", {}, "The command that repeats it:"),
                element("pre", { tabIndex: 0 }, element("code", {}, command(trial))));
  }
  const run = data.trials.run[trial];
  // An id that is none of MLflow's is shown, not linked.
  if (/^[0-9A-Za-z_-]+$/.test(run)) {
    cell.append(element("p", {}, "MLflow run: ", element("a", { href: data.runs + run, rel: "noreferrer" }, run)));
  } else cell.append(element("p", {}, run ? `MLflow run: ${run}` : "It has no MLflow run."));
  return element("tr", { className: "more", id: `more${trial}` }, cell);
}

function row(trial, span) {
  const number = data.trials.number[trial];
  const button = element("button", { type: "button", className: "opens" }, `${number}`);
  button.setAttribute("aria-expanded", String(opened.has(trial)));
  button.setAttribute("aria-label", `Trial ${number}: command and MLflow run`);
  button.addEventListener("click", () => {
    const open = !opened.delete(trial);
    if (open) opened.add(trial);
    button.setAttribute("aria-expanded", String(open));
    if (open) line.after(details(trial, span));
    else line.nextSibling.remove();
  });
  const head = element("th", { scope: "row", className: "n" }, button);
  const cells = columns.map((column) =>
    element("td", { className: column.words ? "" : "n" }, reading(column, trial)));
  const line = element("tr", { className: onFront.has(trial) ? "pick" : "" }, head,
    element("td", {}, states[trial] + (onFront.has(trial) ? ", on the front" : "")), ...cells);
  return opened.has(trial) ? [line, details(trial, span)] : [line];
}

function render() {
  const found = sorted(wanted()), span = columns.length + 2;
  start = Math.max(0, Math.min(start, Math.floor((found.length - 1) / PAGE) * PAGE));
  table.tBodies[0].replaceChildren(...found.slice(start, start + PAGE).flatMap((trial) => row(trial, span)));
  const number = (value) => value.toLocaleString("en-US");
  document.getElementById("where").textContent = found.length
    ? `Rows ${number(start + 1)} to ${number(Math.min(start + PAGE, found.length))} of ${number(found.length)}`
      + (found.length < count ? ` (of ${number(count)} trials)` : "")
    : "No trial is like that.";
  document.getElementById("before").disabled = start === 0;
  document.getElementById("after").disabled = start + PAGE >= found.length;
}

function heading(text, column) {
  const cell = element("th", { scope: "col", className: column && !column.words ? "n" : "" });
  if (!column) { cell.textContent = text; return cell; }
  const button = element("button", { type: "button", className: "sorts" }, text);
  button.addEventListener("click", () => {
    order = order.column === column ? { column: order.down ? null : column, down: true } : { column, down: false };
    if (!order.column) order.down = false;
    table.tHead.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    if (order.column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    start = 0;
    render();
  });
  cell.append(button);
  return cell;
}

if (table) {
  table.tHead.replaceChildren(element("tr", {}, heading("trial"), heading("state"),
    ...columns.map((column) => heading(column.name, column))));
  [...new Set(states)].sort().forEach((state) => stateFilter.append(element("option", { value: state }, state)));
  const first = () => { start = 0; render(); };
  [search, stateFilter, onlyFront].forEach((control) => control.addEventListener("input", first));
  document.getElementById("before").addEventListener("click", () => { start -= PAGE; render(); });
  document.getElementById("after").addEventListener("click", () => { start += PAGE; render(); });
  listeners.push(first);
  document.getElementById("trials-body").hidden = false;
  render();
}
