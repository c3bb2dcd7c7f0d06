"""The script within a page, by which its tables sort and filter; without it they are read as they are."""

LEAST_FILTERED = 8
"""Rows from which on a table can be filtered."""

SCRIPT = (
    """
"use strict";
// What a cell is sorted by: its first number, or its text; a dash is nothing.
function sortKey(text) {
  const plain = text.trim().replaceAll(",", "");
  if (plain === "" || plain === "-") return null;
  const number = /^[-+]?(inf|(\\d+\\.?\\d*|\\.\\d+)(e[-+]?\\d+)?)(?=$|[\\s\\[(])/i.exec(plain);
  return number ? Number(number[0].replace(/inf/i, "Infinity")) : plain;
}
// The numbers of rows in their new order; nothing goes last either way, equals stay as they were.
function sortedRows(texts, down) {
  const keys = texts.map(sortKey);
  const numbers = keys.every(key => key === null || typeof key === "number");
  const asText = (a, b) => String(a).localeCompare(String(b), "en", {numeric: true});
  const compare = (a, b) => numbers ? (a > b) - (a < b) : asText(a, b);
  return texts.map((_, row) => row).sort((a, b) => {
    if (keys[a] === null || keys[b] === null) return (keys[a] === null) - (keys[b] === null) || a - b;
    return (down ? -1 : 1) * compare(keys[a], keys[b]) || a - b;
  });
}
// Whether a row has all words of what is looked for.
function isMeant(text, wanted) {
  return wanted.toLowerCase().split(/\\s+/).every(word => text.toLowerCase().includes(word));
}
function enliven(table) {
  const [head, ...rows] = table.rows, heads = [...head.cells], first = head.parentNode;
  heads.forEach((cell, column) => {
    const sort = () => {
      const down = cell.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      sortedRows(rows.map(row => row.cells[column].textContent), down).forEach(row => first.append(rows[row]));
    };
    cell.tabIndex = 0;
    cell.title = "sort by this column";
    cell.addEventListener("click", sort);
    cell.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
  if (rows.length < """
    + str(LEAST_FILTERED)
    + """) return;
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "only rows with these words";
  field.setAttribute("aria-label", field.placeholder);
  field.addEventListener("input", () => rows.forEach(row => { row.hidden = !isMeant(row.textContent, field.value); }));
  table.parentNode.before(field);
}
if (typeof document !== "undefined") document.querySelectorAll(".scroll > table").forEach(enliven);
"""
)
