"use strict";
// Uses the page as a person would and writes what it found into the document.
(() => {
  const results = {};
  const cells = (id, column) =>
    [...document.querySelectorAll(`#${id} tbody tr`)].map((row) => row.cells[column]);
  const sum = (id, column) =>
    cells(id, column).reduce((total, cell) => total + Number(cell.dataset.v), 0);
  const foot = (id, column) =>
    Number(document.querySelector(`#${id} tfoot tr`).cells[column].dataset.v);
  const heading = (id, text) =>
    [...document.querySelectorAll(`#${id} thead th`)].find((th) => th.textContent === text);

  results["sum of uses"] = sum("uses", 1);
  results["secure RAM"] = foot("uses", 1);
  results["live bytes"] = sum("live", 2);
  results["site bytes"] = sum("site-rows", 1);
  results["owned pages"] = sum("owner-rows", 3);
  results["live rows"] = cells("live", 0).length;
  results["cards"] = document.querySelectorAll(".card").length;
  const growth = heading("live", "growth bytes");
  if (growth) results["growth bytes"] = sum("live", growth.cellIndex);
  const total = (flame) =>
    Number(document.querySelector(`${flame} [total_samples]`).getAttribute("total_samples"));
  results["flame bytes"] = total("#flame-live");
  if (growth) {
    const changes = cells("live", growth.cellIndex).map((cell) => Number(cell.dataset.v));
    const part = (name) => {
      const frames = [...document.querySelectorAll("#flame-growth g")];
      const frame = frames.find((g) => g.querySelector("title")?.textContent.startsWith(`${name} (`));
      return frame ? frame.querySelector("rect").getBoundingClientRect().width : 0;
    };
    const whole = part("all") / changes.reduce((sum, n) => sum + Math.abs(n), 0);
    const grew = changes.reduce((sum, n) => sum + Math.max(n, 0), 0);
    const shrank = changes.reduce((sum, n) => sum + Math.max(-n, 0), 0);
    results["widths are the growth"] =
      Math.abs(part("grew") - grew * whole) < 1 && Math.abs(part("shrank") - shrank * whole) < 1;
  }

  const bytes = heading("live", "bytes");
  const rising = (list) => list.every((n, i) => i === 0 || list[i - 1] <= n);
  const values = () => cells("live", 2).map((cell) => Number(cell.dataset.v));
  bytes.querySelector("button").click();
  const falls = rising(values().reverse()) && bytes.getAttribute("aria-sort") === "descending";
  bytes.querySelector("button").click();
  results["sorted"] = falls && rising(values()) && bytes.getAttribute("aria-sort") === "ascending";

  const filter = document.querySelector("input[data-filter=live]");
  const type = (text) => {
    filter.value = text;
    filter.dispatchEvent(new Event("input"));
    return cells("live", 0).filter((cell) => !cell.parentNode.hidden).length;
  };
  const none = type("no such function anywhere");
  const nothing = foot("live", 2);
  results["filtered to none"] = type("") === results["live rows"] ? none : -1;
  const word = cells("live", 0)[0].textContent;
  const some = type(word);
  const columns = growth ? [2, 3, growth.cellIndex] : [2, 3];
  const of = (column) =>
    cells("live", column).filter((cell) => !cell.parentNode.hidden)
      .reduce((total, cell) => total + Number(cell.dataset.v), 0);
  results["sums are of what is shown"] = some > 0 && some < results["live rows"] && nothing === 0
    && columns.every((column) => of(column) === foot("live", column));
  type("");
  results["sums are of all rows again"] = columns.every((n) => sum("live", n) === foot("live", n));

  const frames = [...document.querySelectorAll("#flame-live g[tabindex]")];
  const width = (g) => parseFloat(g.querySelector("rect").getAttribute("width"));
  const narrow = frames.find((g) => width(g) < 99);
  const key = (g, name) => g.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
  const before = narrow ? width(narrow) : 0;
  if (narrow) key(narrow, "Enter");
  const zoomed = !narrow || width(narrow) > 99.9;
  if (narrow) key(narrow, "Escape");
  results["zoomed and back"] = zoomed && (!narrow || Math.abs(width(narrow) - before) < 0.01);

  const hit = [...document.querySelectorAll("svg.flame")].map((flame) => {
    const row = (rect) => Number(rect.getAttribute("y"));
    const lowest = [...flame.querySelectorAll("rect")].reduce((a, b) => (row(b) > row(a) ? b : a));
    lowest.scrollIntoView({ block: "center" });
    const at = lowest.getBoundingClientRect();
    return document.elementFromPoint(at.left + 20, at.top + at.height / 2) === lowest;
  });
  results["the lowest frame can be clicked"] = hit.length > 0 && !hit.includes(false);

  const back = () => getComputedStyle(document.body).backgroundColor;
  const first = back();
  document.getElementById("theme").click();
  results["theme changed"] = back() !== first;

  const light = (colour, least = 127) =>
    colour.match(/[\d.]+/g).slice(0, 3).every((part) => Number(part) > least);
  const bright = (selector) =>
    [...document.querySelectorAll(selector)].every((at) => light(getComputedStyle(at).backgroundColor));
  const white = (rect) => light(getComputedStyle(rect).fill, 240);
  results["white frames"] = [...document.querySelectorAll(".flame rect")].filter(white).length;

  // Off the screen to the right, in a box of its own or not.
  const off = [...document.querySelectorAll("#live td, #live details")].filter(
    (cell) => cell.getBoundingClientRect().right > innerWidth + 1);
  results["cells off the screen"] = off.length;

  results["wider than the window"] =
    document.documentElement.scrollWidth > document.documentElement.clientWidth;
  // On paper, whatever is on the screen: the rules of print as if they were the screen's.
  for (const rule of [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules])) {
    const media = rule.media?.mediaText ?? "";
    if (media.includes("print")) rule.media.mediaText = "all";
    else if (media !== "") rule.media.mediaText = "not all";
  }
  const papers = ["dark", "light"].map((theme) => {
    document.documentElement.dataset.theme = theme;
    return bright("body, section, .card, .tile, .warn");
  });
  delete document.documentElement.dataset.theme;
  results["dark on paper"] = !bright("body, section, .card, .tile, .warn") || papers.includes(false);
  results["fetched"] = performance.getEntriesByType("resource").length;
  const pre = document.createElement("pre");
  pre.id = "driven";
  pre.textContent = JSON.stringify(results);
  document.body.append(pre);
})();
