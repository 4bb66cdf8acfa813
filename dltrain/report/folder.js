"use strict";
(() => {
  const runs = JSON.parse(document.getElementById("histories").textContent);
  const table = document.querySelector("table.runs"), body = table.tBodies[0];
  const boxes = [...body.querySelectorAll("input[type=checkbox]")];
  const choice = document.getElementById("metric"), charts = document.getElementById("charts");
  const space = "http://www.w3.org/2000/svg";

  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    if (!column) return;
    cell.tabIndex = 0;
    const sort = () => {
      const down = cell.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = row => row.cells[column].dataset.s;
      const compare = (one, other) => {
        const [a, b] = [key(one), key(other)];
        if (a === "" || b === "") return (a === "") - (b === "");
        const number = a - b;
        return (Number.isNaN(number) ? a.localeCompare(b, "en", {numeric: true}) : number) * (down ? -1 : 1);
      };
      body.append(...[...body.rows].sort(compare));
    };
    cell.addEventListener("click", sort);
    cell.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });

  document.getElementById("filter").addEventListener("input", event => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
    }
  });

  const names = [...new Set(runs.flatMap(run => Object.keys(run.y)))];
  const first = runs.find(run => run.metric);
  for (const name of names) {
    const label = ["training_loss", "learning_rate"].includes(name) ? name.replace("_", " ") : "validation " + name;
    choice.append(new Option(label, name, false, first && name === first.metric));
  }

  const svg = (name, attributes, text) => {
    const made = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  function ticks(low, high, number) {
    const rough = (high - low) / number, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map(each => each * power).find(each => each >= rough * .999);
    const found = [];
    for (let index = Math.ceil(low / step - 1e-9); index * step <= high * (1 + 1e-12); index++) found.push(index * step);
    return found;
  }
  function draw(name) {
    const shown = boxes.filter(box => box.checked).map(box => [runs[box.value], box.value % 10])
      .filter(([run]) => run.y[name] && run.y[name].some(value => value !== null));
    if (!shown.length) return null;
    const xs = shown.flatMap(([run]) => run.x);
    const ys = shown.flatMap(([run]) => run.y[name].filter(value => value !== null));
    let [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    if (x1 <= x0) { x0 -= .5; x1 += .5; }
    if (y1 <= y0) { const room = Math.abs(y1) / 10 || .5; y0 -= room; y1 += room; }
    const room = .04 * (y1 - y0);
    y0 -= room; y1 += room;
    const [left, right, top, bottom] = [56, 446, 12, 240];
    const px = x => left + (x - x0) / (x1 - x0) * (right - left), py = y => bottom - (y - y0) / (y1 - y0) * (bottom - top);
    const label = value => String(+value.toPrecision(6));
    const title = choice.querySelector(`option[value="${name}"]`).label;
    const chart = svg("svg", {viewBox: "0 0 460 280", role: "img", "aria-label": title,
      "data-x": `${x0},${x1}`, "data-plot": `${left},${right},${top},${bottom}`});
    for (const tick of ticks(y0, y1, 5)) {
      chart.append(svg("path", {class: "g", d: `M${left} ${py(tick)}H${right}`}),
        svg("text", {class: "t", x: left - 6, y: py(tick) + 4, "text-anchor": "end"}, label(tick)));
    }
    for (const tick of ticks(x0, x1, 6)) {
      chart.append(svg("text", {class: "t", x: px(tick), y: bottom + 16, "text-anchor": "middle"}, label(tick)));
    }
    chart.append(svg("path", {class: "a", d: `M${left} ${bottom}H${right}`}),
      svg("text", {class: "t", x: 251, y: 274, "text-anchor": "middle"}, "epoch"));
    const legend = Object.assign(document.createElement("div"), {className: "legend"});
    for (const [run, colour] of shown) {
      let path = "", pen = "M";
      run.y[name].forEach((value, index) => {
        if (value === null) { pen = "M"; return; }
        path += `${pen}${px(run.x[index]).toFixed(1)} ${py(value).toFixed(1)}`;
        pen = "L";
      });
      const values = JSON.stringify(run.x.map((x, index) => [x, run.y[name][index]]));
      chart.append(svg("path", {class: `line c${colour}`, d: path, "data-label": run.name, "data-v": values}));
      if (run.x.length < 3) chart.append(svg("path", {class: `dots c${colour}`, d: path.replaceAll("L", "M").replace(/(M[^M]+)/g, "$1h0")}));
      const entry = document.createElement("span"), key = document.createElement("i");
      key.className = `k c${colour}`;
      entry.append(key, run.name);
      legend.append(entry);
    }
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    figure.className = "chart";
    caption.textContent = title;
    figure.append(caption, chart, legend);
    watchChart(chart);
    return figure;
  }
  function show() {
    const wanted = [...new Set([choice.value, "loss", "training_loss"])].filter(Boolean);
    const figures = wanted.map(draw).filter(Boolean);
    if (!figures.length) figures.push(Object.assign(document.createElement("p"), {textContent: "Select runs in the table."}));
    charts.replaceChildren(...figures);
  }
  choice.addEventListener("change", show);
  boxes.forEach(box => box.addEventListener("change", show));
  show();
})();
