"use strict";
(() => {
  const make = (name, properties) => Object.assign(document.createElement(name), properties);
  const short = value => Math.abs(value) >= 1e6 || (value && Math.abs(value) < 1e-3)
    ? value.toExponential(3) : String(+value.toPrecision(5));

  function watch(svg) {
    const [low, high] = svg.dataset.x.split(",").map(Number);
    const [left, right, top, bottom] = svg.dataset.plot.split(",").map(Number);
    const lines = [...svg.querySelectorAll("[data-v]")].map(path => [path.dataset.label, JSON.parse(path.dataset.v)]);
    if (!lines.length) return;
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
    cursor.setAttribute("class", "cursor");
    const tip = make("div", {className: "tip", hidden: true});
    svg.append(cursor);
    svg.after(tip);
    svg.addEventListener("pointermove", event => {
      const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
      const at = (event.clientX - box.left) * scale;
      if (at < left || at > right) { hide(); return; }
      const x = low + (at - left) / (right - left) * (high - low);
      const near = lines.map(([label, points]) =>
        [label, points.reduce((one, other) => Math.abs(other[0] - x) < Math.abs(one[0] - x) ? other : one)]);
      const chosen = near.reduce((one, other) => Math.abs(other[1][0] - x) < Math.abs(one[1][0] - x) ? other : one)[1][0];
      const place = left + (chosen - low) / (high - low) * (right - left);
      cursor.setAttribute("d", `M${place} ${top}V${bottom}`);
      tip.replaceChildren(make("div", {textContent: short(chosen)}), ...near.filter(each => each[1][1] !== null)
        .map(each => make("div", {textContent: `${each[0]}: ${short(each[1][1])}`})));
      tip.hidden = false;
      const shift = place / scale;
      tip.style.top = `${svg.offsetTop + 8}px`;
      tip.style.left = shift < box.width / 2 ? `${shift + 12}px` : "auto";
      tip.style.right = shift < box.width / 2 ? "auto" : `${box.width - shift + 12}px`;
    });
    const hide = () => { tip.hidden = true; cursor.setAttribute("d", ""); };
    svg.addEventListener("pointerleave", hide);
  }
  window.watchChart = watch;
  document.querySelectorAll("svg[data-x]").forEach(watch);

  const live = document.body.dataset.refresh;
  if (live) {
    const written = Date.parse(document.body.dataset.written), key = "scroll" + location.pathname;
    const old = () => (Date.now() - written) / 1000 > Math.max(300, 20 * live);
    try { scrollTo(0, Number(sessionStorage.getItem(key) || 0)); } catch { /* storage may be forbidden */ }
    if (old()) {
      document.getElementById("live").textContent =
        "No update for a while: a long epoch, or the process was killed. Reload to look again.";
    } else {
      setTimeout(() => {
        try { sessionStorage.setItem(key, String(scrollY)); } catch { /* as above */ }
        location.reload();
      }, 1000 * live);
    }
  }
})();
