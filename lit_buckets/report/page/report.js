"use strict";
// Lists that can be searched, filtered, sorted and paged; the theme; and words beside the pointer.
// Everything that comes from the data is set as text, never as markup.

const ROWS = 50; // of a page
const PRINTED = 200; // rows of a list on paper

const data = JSON.parse(document.getElementById("data").textContent);
const collator = new Intl.Collator("en", { numeric: true });
const count = new Intl.NumberFormat("en-US");
const share = (value) => (value * 100).toFixed(1) + "%";

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// -- lists ----------------------------------------------------------------------------------------

// A column has a title, the value that rows are sorted by (null sorts last), and its text.
const size = (height, width) => (height === null ? "" : `${height}x${width}`);

const columns = {
  buckets: [
    { title: "bucket", value: (row) => row[0] * 1e6 + row[1], text: (row) => size(row[0], row[1]), head: true, draw: shape },
    { title: "width / height", value: (row) => row[1] / row[0], text: (row) => (row[1] / row[0]).toFixed(2), number: true },
    { title: "images", value: (row) => row[2], text: (row) => count.format(row[2]), number: true },
    { title: "samples", value: (row) => row[3], text: (row) => count.format(row[3]), number: true },
    { title: "batches", value: (row) => row[4], text: (row) => count.format(row[4]), number: true },
    { title: data.loss, value: (row) => row[5], text: (row) => share(row[5]), number: true },
    { title: "moved here", value: (row) => row[6], text: (row) => count.format(row[6]), number: true },
  ],
  images: [
    { title: "file", value: (row) => row[0], text: (row) => row[0], head: true, path: true },
    { title: "what", value: (row) => row.place, text: (row) => (row.fate === "used" ? "" : row.title) },
    { title: "size", value: (row) => row[1] && row[1] * row[2], text: (row) => size(row[1], row[2]), number: true },
    { title: "bucket", value: (row) => row[3] && row[3] * 1e6 + row[4], text: (row) => size(row[3], row[4]), number: true },
    { title: data.loss, value: (row) => row[5], text: (row) => (row[5] === null ? "" : share(row[5])), number: true },
    { title: "scale", value: (row) => row[6], text: (row) => (row[6] === null ? "" : (row[6] * 100).toFixed(0) + "%"), number: true },
    { title: "why", value: (row) => row[7], text: (row) => row[7], long: true },
  ],
};

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "string" ? collator.compare(a, b) : a - b;
}

// A bucket's proportions, drawn in a square.
function shape(row) {
  const [height, width] = row;
  const most = Math.max(height, width);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const [h, w] = [Math.max((14 * height) / most, 1), Math.max((14 * width) / most, 1)];
  for (const [name, value] of Object.entries({ x: 8 - w / 2, y: 8 - h / 2, width: w, height: h })) {
    box.setAttribute(name, value.toFixed(1));
  }
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "shape");
  svg.setAttribute("aria-hidden", "true");
  svg.append(box);
  return svg;
}

class List {
  constructor(root, rows) {
    this.columns = columns[root.dataset.list];
    this.rows = rows;
    this.keep = () => true; // what else than the words a row must match
    this.words = [];
    this.sorting = null; // a column, and 1 or -1
    this.page = 0;
    this.length = ROWS;
    this.body = root.querySelector("tbody");
    this.status = root.querySelector(".status");
    this.pages = root.querySelector(".pages");
    this.titles = this.columns.map((column) => this.title(column));
    root.querySelector("thead tr").append(...this.titles);
    root.querySelector("input[type=search]").addEventListener("input", (event) => {
      this.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.update();
    });
    window.addEventListener("beforeprint", () => this.show(PRINTED));
    window.addEventListener("afterprint", () => this.show(ROWS));
    root.hidden = false;
    this.update();
  }

  title(column) {
    const button = element("button", { type: "button", textContent: column.title });
    button.addEventListener("click", () => {
      const [by, way] = this.sorting ?? [];
      this.sorting = by === column ? (way === 1 ? [column, -1] : null) : [column, 1];
      this.update();
    });
    return element("th", { scope: "col", className: this.style(column).join(" ") }, button);
  }

  // What a row is searched for, made when it is first asked for.
  content(row) {
    row.content ??= this.columns.map((column) => column.text(row)).join("\n").toLowerCase();
    return row.content;
  }

  update() {
    this.found = this.rows.filter((row) => this.keep(row) && this.words.every((word) => this.content(row).includes(word)));
    if (this.sorting) {
      const [{ value }, way] = this.sorting;
      // what has no value stays last either way
      this.found.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        return x === null || y === null ? compare(x, y) : way * compare(x, y);
      });
    }
    this.titles.forEach((title, place) => {
      const [by, way] = this.sorting ?? [];
      const sorted = by === this.columns[place] ? (way === 1 ? "ascending" : "descending") : "none";
      title.setAttribute("aria-sort", sorted);
    });
    this.page = 0;
    this.draw();
  }

  show(length) {
    this.page = 0;
    this.length = length;
    this.draw();
  }

  draw() {
    const first = this.page * this.length;
    const some = this.found.slice(first, first + this.length);
    this.body.replaceChildren(...some.map((row) => this.row(row)));
    const [found, all] = [this.found.length, this.rows.length].map(count.format);
    const range = some.length ? `${count.format(first + 1)}–${count.format(first + some.length)} of ${found}` : "none";
    this.status.textContent = found === all ? range : `${range}, from ${all}`;
    this.pages.replaceChildren(...this.turns());
  }

  row(row) {
    const cells = this.columns.map((column) => {
      const text = column.text(row);
      const cell = element(column.head ? "th" : "td", { className: [...this.style(column), ...(text ? [] : ["none"])].join(" ") });
      // roles are said aloud because narrow screens lay rows out as cards
      cell.setAttribute("role", column.head ? "rowheader" : "cell");
      if (column.head) cell.scope = "row";
      else cell.dataset.title = column.title;
      if (column.draw) cell.append(column.draw(row));
      cell.append(element("span", { textContent: text }));
      return cell;
    });
    const made = element("tr", { className: row.fate ?? "" }, ...cells);
    made.setAttribute("role", "row");
    return made;
  }

  style(column) {
    return ["number", "path", "long"].filter((name) => column[name]);
  }

  turns() {
    const last = Math.ceil(this.found.length / this.length) - 1;
    if (last < 1) return [];
    const turn = (text, page, label) => {
      const button = element("button", { type: "button", textContent: text, disabled: page < 0 || page > last || page === this.page });
      button.setAttribute("aria-label", label);
      button.addEventListener("click", () => {
        this.page = page;
        this.draw();
        this.pages.querySelector(`[aria-label="${label}"]:enabled, button:enabled`)?.focus();
      });
      return button;
    };
    return [
      turn("«", 0, "First page"),
      turn("‹ Previous", this.page - 1, "Previous page"),
      element("span", { textContent: `page ${count.format(this.page + 1)} of ${count.format(last + 1)}` }),
      turn("Next ›", this.page + 1, "Next page"),
      turn("»", last, "Last page"),
    ];
  }
}

function imageRows() {
  return data.lists.flatMap(({ fate, title, rows }, place) => rows.map((row) => Object.assign(row, { fate, title, place })));
}

// One choice for each fate, and one for all.
function offerFates(list, fieldset) {
  const all = { fate: "", title: "all", total: data.lists.reduce((sum, each) => sum + each.total, 0) };
  for (const each of [all, ...data.lists]) {
    const radio = element("input", { type: "radio", name: "fate", value: each.fate, checked: each === all });
    radio.addEventListener("change", () => {
      list.keep = (row) => !each.fate || row.fate === each.fate;
      list.update();
    });
    fieldset.append(element("label", {}, radio, element("span", {}, each.title, " ", element("b", { textContent: count.format(each.total) }))));
  }
}

const [bucketList, imageList] = ["bucket-list", "image-list"].map((id) => document.getElementById(id));
new List(bucketList, data.buckets);
offerFates(new List(imageList, imageRows()), imageList.querySelector("fieldset"));

// -- the theme: as the system has it, light, or dark ------------------------------------------------

const themes = ["system", "light", "dark"];
const themeButton = document.getElementById("theme");

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  themeButton.textContent = `Theme: ${theme}`;
}

function remembered() {
  try {
    return localStorage.getItem("lit_buckets.theme");
  } catch {
    return null; // a file may have no storage
  }
}

themeButton.addEventListener("click", () => {
  const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
  setTheme(next);
  try {
    localStorage.setItem("lit_buckets.theme", next);
  } catch {
    // it holds until the page is left
  }
});
setTheme(themes.includes(remembered()) ? remembered() : "system");
themeButton.hidden = false;

// -- words beside the pointer -----------------------------------------------------------------------

const tip = document.getElementById("tip");

document.addEventListener("pointerover", (event) => {
  const words = event.target.dataset?.tip;
  tip.hidden = !words;
  if (words) tip.textContent = words;
});
document.addEventListener("pointermove", ({ clientX, clientY }) => {
  if (tip.hidden) return;
  const { offsetWidth, offsetHeight } = tip;
  const room = document.documentElement.clientWidth - offsetWidth - 8;
  tip.style.left = `${Math.max(8, Math.min(clientX + 12, room))}px`;
  tip.style.top = `${clientY - offsetHeight - 12 < 0 ? clientY + 20 : clientY - offsetHeight - 12}px`;
});
