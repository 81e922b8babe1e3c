// Sorts, filters and shortens the table of trials.
"use strict";
(() => {
  const table = document.getElementById("trials");
  if (!table) return;
  const first = 20;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  const selects = [...document.querySelectorAll(".filters select")];
  const search = document.getElementById("search");
  const more = document.getElementById("more");
  let all = false;

  const cell = (row, column) => row.cells[column];
  const value = (row, column) => cell(row, column).dataset.v;

  function compare(a, b, column, sign) {
    const [x, y] = [value(a, column), value(b, column)];
    if (x !== undefined && y !== undefined) return sign * (x - y);
    // Without numbers: text alphabetically; empty cells are last both ways.
    const [s, t] = [cell(a, column).textContent, cell(b, column).textContent];
    if (!s || !t) return !s - !t;
    return x !== undefined ? -1 : y !== undefined ? 1 : sign * s.localeCompare(t);
  }

  function sort(column) {
    const header = headers[column];
    const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    headers.forEach((one) => one.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    rows.sort((a, b) => compare(a, b, column, sign));
    body.append(...rows);
    show();
  }

  function fits(row) {
    return selects.every((one) => !one.value || cell(row, one.dataset.column).textContent === one.value.slice(1))
      && row.textContent.toLowerCase().includes(search.value.trim().toLowerCase());
  }

  function show() {
    const kept = new Set(rows.filter(fits));
    let left = all ? Infinity : first;
    rows.forEach((row) => { row.hidden = !kept.has(row) || left-- <= 0; });
    const number = (count) => count.toLocaleString("en");
    const shown = (kept.size < rows.length ? `${number(kept.size)} of ` : "") + number(rows.length);
    document.getElementById("count").textContent = `${shown} trial${rows.length === 1 ? "" : "s"}`;
    more.hidden = all || kept.size <= first;
    more.textContent = `Show all ${number(kept.size)}`;
  }

  headers.forEach((header, column) => header.firstElementChild.addEventListener("click", () => sort(column)));
  document.querySelector(".filters").addEventListener("input", show);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { all = true; show(); });
  headers[0].setAttribute("aria-sort", "ascending");
  show();
})();
