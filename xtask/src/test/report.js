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
  results["flame bytes"] =
    Number(document.querySelector(".flame [total_samples]").getAttribute("total_samples"));

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
  results["filtered to none"] = type("") === results["live rows"] ? none : -1;

  const frames = [...document.querySelectorAll(".flame g[tabindex]")];
  const width = (g) => parseFloat(g.querySelector("rect").getAttribute("width"));
  const narrow = frames.find((g) => width(g) < 99);
  const key = (g, name) => g.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
  const before = narrow ? width(narrow) : 0;
  if (narrow) key(narrow, "Enter");
  const zoomed = !narrow || width(narrow) > 99.9;
  if (narrow) key(narrow, "Escape");
  results["zoomed and back"] = zoomed && (!narrow || Math.abs(width(narrow) - before) < 0.01);

  const back = () => getComputedStyle(document.body).backgroundColor;
  const first = back();
  document.getElementById("theme").click();
  results["theme changed"] = back() !== first;

  results["wider than the window"] =
    document.documentElement.scrollWidth > document.documentElement.clientWidth;
  results["fetched"] = performance.getEntriesByType("resource").length;
  const pre = document.createElement("pre");
  pre.id = "driven";
  pre.textContent = JSON.stringify(results);
  document.body.append(pre);
})();
