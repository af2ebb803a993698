"use strict";
// Table, filters and viewer of the images. Everything comes from the JSON in #data; nothing is loaded.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const percent = (value) => (value === null || value === undefined ? "" : (100 * value).toFixed(1));
const signed = (value) => (value === null || value === undefined ? "" : (value > 0 ? "+" : "") + (100 * value).toFixed(1));

const state = { key: data.sort, down: false, shown: [], at: 0, layer: data.layers[data.layers.length - 1] };

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// A class shows the images that hold it, the worst at that class first.
function value(card, key) {
  return key === "class_iou" ? card.class_iou[$("class-filter").value] : card[key];
}

function visible() {
  const chosen = $("class-filter").value;
  const name = $("name-filter").value.toLowerCase();
  const filters = [...document.querySelectorAll(".value-filter")].filter((select) => select.value);
  return data.cards.filter((card) =>
    (chosen === "" || card.class_iou[chosen] !== null) &&
    card.image.toLowerCase().includes(name) &&
    filters.every((select) => card[select.dataset.key] === select.value));
}

function compare(a, b) {
  const x = value(a, state.key), y = value(b, state.key);
  if (x === null || x === undefined) return 1;  // what has no value comes last either way
  if (y === null || y === undefined) return -1;
  const order = typeof x === "string" ? x.localeCompare(y) : x - y;
  return state.down ? -order : order;
}

function drawTable() {
  const columns = data.columns.filter((column) => column.key !== "class_iou" || $("class-filter").value !== "");
  $("table").tHead.rows[0].replaceChildren(...columns.map((column) => {
    const button = element("button", { textContent: column.title, onclick: () => sortBy(column.key) });
    const cell = element("th", { className: column.className }, button);
    if (column.key === state.key) cell.ariaSort = state.down ? "descending" : "ascending";
    return cell;
  }));
  state.shown = visible().sort(compare);
  $("table").tBodies[0].replaceChildren(...state.shown.map((card, place) => row(card, place, columns)));
  $("count").textContent = `${state.shown.length} of ${data.cards.length}`;
}

function row(card, place, columns) {
  const cells = columns.map((column) => {
    const cell = element("td", { className: column.className });
    const found = value(card, column.key);
    if (column.key === "image") cell.append(thumb(card), element("span", { className: "name", textContent: found, title: found }));
    else if (column.kind === "signed") cell.append(element("span", { className: found < 0 ? "bad" : "good", textContent: signed(found) }));
    else cell.textContent = column.kind === "text" ? found ?? "" : percent(found);
    return cell;
  });
  const made = element("tr", { tabIndex: 0, onclick: () => open(place) }, ...cells);
  made.onkeydown = (event) => { if (event.key === "Enter") open(place); };
  return made;
}

function thumb(card) {
  const images = [card.picture, card.layers[data.thumb]].map((src) => element("img", { src, alt: "", loading: "lazy" }));
  return element("span", { className: "thumb" }, ...images);
}

function sortBy(key) {
  state.down = key === state.key ? !state.down : false;
  state.key = key;
  drawTable();
}

function open(place) {
  state.at = (place + state.shown.length) % state.shown.length;
  const card = state.shown[state.at];
  $("viewer-name").textContent = card.image;
  $("viewer-image").src = card.picture;
  $("viewer-image").style.setProperty("--ratio", card.width / card.height);
  $("viewer-scores").textContent = card.text;
  const present = data.classes.filter((_, index) => card.class_iou[index] !== null);
  $("viewer-legend").replaceChildren(...present.map((info) => {
    const chip = element("i", { className: "chip" });
    chip.style.background = info.color;
    return element("span", {}, chip, `${info.name} ${percent(card.class_iou[info.id])}`);
  }));
  drawLayer();
  if (!$("viewer").open) $("viewer").showModal();
}

function drawLayer() {
  const source = state.shown[state.at].layers[state.layer];
  $("viewer-layer").hidden = !source;
  $("viewer-layer").src = source ?? "";
  $("viewer-layer").style.opacity = $("opacity").value / 100;
}

function start() {
  data.classes.forEach((info) => $("class-filter").append(element("option", { value: info.id, textContent: info.name })));
  ["image", ...data.layers].forEach((name) => {
    const input = element("input", { type: "radio", name: "layer", value: name, checked: name === state.layer });
    input.onchange = () => { state.layer = name; drawLayer(); };
    $("layers").append(element("label", {}, input, ` ${name}`));
  });
  $("class-filter").onchange = () => {
    state.key = $("class-filter").value === "" ? data.sort : "class_iou";
    state.down = false;
    drawTable();
  };
  document.querySelectorAll(".value-filter").forEach((select) => { select.onchange = drawTable; });
  $("name-filter").oninput = drawTable;
  $("opacity").oninput = drawLayer;
  $("previous").onclick = () => open(state.at - 1);
  $("next").onclick = () => open(state.at + 1);
  $("viewer").onkeydown = (event) => {
    if (event.target.tagName === "INPUT") return;
    if (event.key === "ArrowLeft") open(state.at - 1);
    if (event.key === "ArrowRight") open(state.at + 1);
  };
  drawTable();
}

if (data.cards.length) start();
