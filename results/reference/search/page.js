// Sorting, filtering, hiding and arrow keys in tables, what cells say, a filter of claims, the theme. Without it the page is whole, only fixed.
"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// Theme: the system's, or the one chosen here
const root = document.documentElement;
const store = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
                set: (value) => { try { localStorage.setItem("theme", value); } catch { /* kept for this page only */ } } };
if (store.get()) root.dataset.theme = store.get();
const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const theme = make("button", { type: "button", id: "theme", textContent: isDark() ? "Light" : "Dark" });
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  store.set(root.dataset.theme);
  theme.textContent = isDark() ? "Light" : "Dark";
});
document.querySelector(".top > div")?.append(theme);

// Tables
const text = (row, column) => row.cells[column]?.textContent.trim() ?? "";
const number = (shown) => {
  const found = shown.replaceAll("−", "-").replaceAll(",", "").match(/^[+-]?\d+(\.\d+)?/);
  return found ? Number(found[0]) : NaN;
};
function sort(table, column, descending) {
  const body = table.tBodies[0], rows = [...body.rows];
  const numeric = rows.some((row) => !Number.isNaN(number(text(row, column))));
  const missing = (value) => (numeric ? Number.isNaN(value) : value === "");
  const keyed = rows.map((row) => ({ row, value: numeric ? number(text(row, column)) : text(row, column) }));
  keyed.sort((a, b) => {
    if (missing(a.value) || missing(b.value)) return missing(a.value) - missing(b.value);
    const order = numeric ? a.value - b.value : a.value.localeCompare(b.value);
    return descending ? -order : order;
  });
  body.append(...keyed.map(({ row }) => row));
}
for (const table of all("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    if (!heading.textContent.trim()) return;
    const button = make("button", { type: "button" }, ...heading.childNodes);
    button.addEventListener("click", () => {
      const descending = heading.ariaSort ? heading.ariaSort === "ascending" : !heading.classList.contains("name");
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(table, column, descending);
    });
    heading.append(button);
  });
}
for (const box of all(".wide")) {
  const table = box.querySelector("table"), rows = [...(table.tBodies[0]?.rows ?? [])];
  const tools = make("div", { className: "tools" });
  if (table.matches(".sortable") && rows.length >= 8) {
    const input = make("input", { type: "search", placeholder: "words of a row" });
    const count = make("output", { className: "soft" });
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
        shown += !row.hidden;
      }
      settle(table);
      count.value = words.length ? `${shown} of ${rows.length} rows` : "";
    });
    tools.append(make("label", {}, "Filter ", input), count);
  }
  if (table.querySelector("td.published")) {
    const show = make("input", { type: "checkbox", checked: true });
    show.addEventListener("change", () => {
      table.classList.toggle("hide-published", !show.checked);
      settle(table);
    });
    tools.append(make("label", {}, show, "Published values"));
  }
  if (tools.childElementCount) box.before(tools);
}

// What a cell says when pointed at is also shown beside it when it is focused or touched
const bubble = make("div", { id: "said", role: "tooltip", popover: "manual" });
document.body.append(bubble);
let described = null;
function say(element) {
  const about = element?.closest("td, th")?.title;
  described?.removeAttribute("aria-describedby");
  described = about ? element : null;
  described?.setAttribute("aria-describedby", bubble.id);
  bubble.textContent = about ?? "";
  bubble.togglePopover(Boolean(about));
  place();
}
function place() {
  if (!described) return;
  const cell = described.closest("td, th").getBoundingClientRect(), { width, height } = bubble.getBoundingClientRect();
  bubble.style.left = `${Math.max(8, Math.min(cell.left, document.documentElement.clientWidth - width - 8))}px`;
  bubble.style.top = `${cell.bottom + height + 12 < innerHeight ? cell.bottom + 4 : cell.top - height - 4}px`;
}
addEventListener("scroll", place, { capture: true, passive: true });
addEventListener("resize", place);

// A table is a grid: one tab stop, and arrow keys from cell to cell, or to the link or button in it
const isVisible = (element) => element.checkVisibility();
const inside = (cell) => cell.querySelector("a, button") ?? cell;
function stopAt(cell) {
  const table = cell.closest("table");
  for (const other of all("[tabindex='0']", table)) other.tabIndex = -1;
  inside(cell).tabIndex = 0;
}
function goTo(cell) {
  const table = cell.closest("table"), key = table.querySelector("tbody th");
  stopAt(cell);
  table.parentElement.style.scrollPadding = `${table.tHead.offsetHeight}px 0 0 ${key?.offsetWidth ?? 0}px`;
  inside(cell).focus({ preventScroll: true });
  cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  place();
}
function settle(table) {
  if (all("[tabindex='0']", table).some(isVisible)) return;
  const row = [...(table.tBodies[0]?.rows ?? [])].find(isVisible) ?? table.tHead.rows[0];
  stopAt([...row.cells].find(isVisible));
}
function moved(table, cell, { key, ctrlKey }) {
  const rows = [...table.rows].filter(isVisible).map((row) => [...row.cells].filter(isVisible));
  const y = rows.findIndex((row) => row.includes(cell)), x = rows[y].indexOf(cell);
  if (key === "Home") return (ctrlKey ? rows[0] : rows[y])[0];
  if (key === "End") return (ctrlKey ? rows.at(-1) : rows[y]).at(-1);
  const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[key] ?? [];
  return ctrlKey || down === undefined ? undefined : rows[y + down]?.[x + right];
}
for (const table of all(".wide > table")) {
  table.role = "grid";
  table.parentElement.removeAttribute("tabindex");
  for (const element of all("a, button", table)) element.tabIndex = -1;
  settle(table);
  table.addEventListener("focusin", (event) => say(event.target));
  table.addEventListener("focusout", () => say(null));
  table.addEventListener("click", (event) => {
    const cell = event.target.closest("td[title]");
    if (cell) goTo(cell);
  });
  table.addEventListener("keydown", (event) => {
    if (event.key === "Escape") say(null);
    if (event.altKey || event.metaKey || event.shiftKey) return;
    const cell = moved(table, event.target.closest("td, th"), event);
    if (!cell) return;
    event.preventDefault();
    goTo(cell);
  });
}

// Claims by verdict
const claims = all(".claim"), chips = document.querySelector(".chips");
function choose(verdict) {
  for (const button of all("button", chips)) button.ariaPressed = String(button.value === verdict);
  for (const claim of claims) claim.hidden = Boolean(verdict) && claim.dataset.verdict !== verdict;
  for (const section of all("section.claims")) section.hidden = all(".claim", section).every((claim) => claim.hidden);
}
if (chips && claims.length) {
  const verdicts = new Map(claims.map((claim) => [claim.dataset.verdict, claim.dataset.said]));
  for (const [value, said] of [["", "all"], ...verdicts]) {
    const button = make("button", { type: "button", value, textContent: said, ariaPressed: String(value === "") });
    button.addEventListener("click", () => choose(value));
    chips.append(button);
  }
  for (const link of all("a[data-verdict]")) link.addEventListener("click", () => choose(link.dataset.verdict));
}

// What a link leads to, and what is printed, is unfolded
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target?.closest("details");
  if (target?.hidden) choose("");
  if (folded) folded.open = true;
};
addEventListener("hashchange", unfold);
unfold();
addEventListener("beforeprint", () => all("details:not([open])").forEach((each) => { each.open = true; }));
