"use strict";
// Sorts and filters tables, zooms the flame graph, switches colours. The page is whole without it.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.v ?? cell.textContent;
    const number = Number(value);
    return value !== "" && !Number.isNaN(number) ? number : value.toLowerCase();
  };
  const compare = (a, b) =>
    typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
  for (const head of all("thead th")) {
    head.firstChild.addEventListener("click", () => {
      const table = head.closest("table");
      const numbers = head.classList.contains("n");
      const before = head.getAttribute("aria-sort");
      const falling = before ? before === "ascending" : numbers;
      for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      const column = head.cellIndex;
      rows.sort((a, b) => compare(key(a, column), key(b, column)) * (falling ? -1 : 1));
      table.tBodies[0].append(...rows);
    });
  }

  // The last row adds up what is shown.
  const addUp = (table, rows) => {
    const foot = table.tFoot ? [...table.tFoot.rows[0].cells] : [];
    const shown = rows.filter((row) => !row.hidden);
    for (const cell of foot.filter((cell) => cell.dataset.v !== undefined)) {
      const sum = shown.reduce((sum, row) => sum + BigInt(row.cells[cell.cellIndex].dataset.v ?? 0), 0n);
      const change = cell.classList.contains("by");
      cell.dataset.v = sum;
      cell.textContent = `${change && sum > 0n ? "+" : ""}${sum.toLocaleString("en-US")}`.replace("-", "\u2212");
      cell.classList.toggle("up", change && sum > 0n);
      cell.classList.toggle("down", change && sum < 0n);
    }
    if (foot[0]) foot[0].textContent = shown.length === rows.length ? "sum" : "sum of these";
  };
  for (const input of all("input[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    const rows = [...table.tBodies[0].rows];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const count = document.querySelector(`output[data-count="${input.dataset.filter}"]`);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, n) => {
        row.hidden = !words.every((word) => texts[n].includes(word));
        shown += row.hidden ? 0 : 1;
      });
      const all = `${rows.length} row${rows.length === 1 ? '' : 's'}`;
      count.textContent = shown === rows.length ? all : `${shown} of ${all}`;
      addUp(table, rows);
    });
  }

  for (const input of all("input[data-flame]")) {
    const flame = document.getElementById(input.dataset.flame);
    const total = Number(flame.querySelector("[total_samples]").getAttribute("total_samples"));
    const frames = all("g", flame).filter((g) => g.querySelector("rect")).map((g) => {
      const rect = g.querySelector("rect");
      return {
        g, rect, text: g.querySelector("text"), name: g.querySelector("title").textContent,
        x: Number(rect.getAttribute("fg:x")), w: Number(rect.getAttribute("fg:w")),
        y: Number(rect.getAttribute("y")),
      };
    });
    const label = (frame, pixels) => {
      const name = frame.name.replace(/ \([\d,]+ bytes.*$/, "");
      const room = Math.floor(pixels / 7.3);
      return room < 4 ? "" : name.length <= room ? name : `${name.slice(0, room - 2)}..`;
    };
    const zoom = (to) => {
      for (const frame of frames) {
        const below = frame.y > to.y && frame.x <= to.x && frame.x + frame.w >= to.x + to.w;
        const inside = frame.x >= to.x && frame.x + frame.w <= to.x + to.w && frame.y <= to.y;
        frame.g.classList.toggle("off", !below && !inside);
        frame.g.classList.toggle("above", below);
        const x = below ? 0 : (frame.x - to.x) / to.w;
        const w = below ? 1 : frame.w / to.w;
        frame.rect.setAttribute("x", `${x * 100}%`);
        frame.rect.setAttribute("width", `${w * 100}%`);
        frame.text?.setAttribute("x", `${x * 100 + 0.25}%`);
        if (frame.text) frame.text.textContent = label(frame, w * 1180);
      }
    };
    for (const frame of frames) {
      frame.g.setAttribute("tabindex", "0");
      frame.g.setAttribute("role", "button");
      frame.g.setAttribute("aria-label", frame.name);
      frame.g.addEventListener("click", () => frame.w > 0 && zoom(frame));
      frame.g.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && frame.w > 0) zoom(frame);
        if (event.key === "Escape") zoom({ x: 0, w: total, y: Infinity });
      });
    }
    const matched = input.closest("p").querySelector("output");
    input.addEventListener("input", () => {
      const word = input.value.toLowerCase();
      let n = 0;
      for (const frame of frames) {
        const match = word !== "" && frame.name.toLowerCase().includes(word);
        frame.g.classList.toggle("match", match);
        n += match ? 1 : 0;
      }
      matched.textContent = word === "" ? "" : `${n} frames`;
    });
  }

  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const now = root.dataset.theme
      ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
  addEventListener("beforeprint", () => all("td details").forEach((d) => { d.open = true; }));
})();
