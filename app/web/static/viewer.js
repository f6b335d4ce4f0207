// A slide, the map over it, the walk through its regions, and the answer of a chosen place.
import { about, cellAt, loadCells } from "./cells.js";
import { Judging } from "./judging.js";
import { Layers } from "./layers.js";
import { ask } from "./place.js";

const { root } = document.documentElement.dataset; // a proxy's prefix
const page = document.querySelector("#run");
const words = page.dataset;
const run = `${root}/ui/slides/runs/${words.run}`;
const announced = document.querySelector("#announced");
const POLL_MS = 1500;
const STILL = matchMedia("(prefers-reduced-motion: reduce)").matches;

// OpenSeadragon adds a style of its own for phones unless it finds one, and the page's policy refuses such
// styles: it finds an element that is called so and is no style.
const known = document.createElementNS("rosette", "style");
known.setAttribute("data-openseadragon-mobile-css", "true");
document.head.append(known);

const viewer = OpenSeadragon({
  element: document.querySelector("#osd"),
  drawer: "canvas",
  showNavigationControl: false,
  showNavigator: innerWidth >= 700,
  navigatorPosition: "BOTTOM_RIGHT",
  navigatorBackground: "#ffffff",
  animationTime: STILL ? 0 : 0.5,
  maxZoomPixelRatio: 6,
  visibilityRatio: 0.3,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
  gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: false },
  gestureSettingsPen: { clickToZoom: false, dblClickToZoom: false },
  tileSources: {
    width: Number(words.width),
    height: Number(words.height),
    tileSize: Number(words.tile),
    tileOverlap: Number(words.overlap),
    minLevel: 0,
    maxLevel: Number(words.levels) - 1,
    getTileUrl: (level, x, y) => `${root}/ui/slides/${words.slide}/tiles/${level}/${x}_${y}.jpeg`,
  },
});
viewer.canvas.setAttribute("aria-label", words.label);
viewer.canvas.setAttribute("role", "application");

const slide = () => viewer.world.getItemAt(0);
const bounds = { x: Number(words.boundsX), y: Number(words.boundsY) };
let layers = null;

// Screen pixels per level-0 pixel, and where the corner of level 0 is on the screen.
function corner() {
  const zero = slide().imageToViewerElementCoordinates(new OpenSeadragon.Point(-bounds.x, -bounds.y));
  const one = slide().imageToViewerElementCoordinates(new OpenSeadragon.Point(1000 - bounds.x, 0));
  return [(one.x - zero.x) / 1000, zero.x, zero.y];
}

function redraw() {
  if (!slide()) return;
  const [scale, left, top] = corner();
  layers?.draw(scale, left, top);
  measure(scale);
}

function measure(scale) {
  const bar = document.querySelector("#scale-bar");
  const microns = Number(bar.dataset.microns);
  if (!microns) return;
  const most = (110 * microns) / scale;
  const power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
  bar.style.width = `${(length * scale) / microns}px`;
  bar.textContent = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
}

for (const event of ["open", "update-viewport", "resize"]) viewer.addHandler(event, redraw);
document.querySelector("#zoom-in").addEventListener("click", () => zoom(1.6));
document.querySelector("#zoom-out").addEventListener("click", () => zoom(1 / 1.6));
document.querySelector("#zoom-all").addEventListener("click", () => viewer.viewport.goHome(STILL));

function zoom(factor) {
  viewer.viewport.zoomBy(factor, undefined, STILL);
  viewer.viewport.applyConstraints(STILL);
}

// Progress
async function poll() {
  try {
    const response = await fetch(`${run}/progress`);
    if (response.status === 401) return location.assign(`${root}/login?ended=1`);
    if (response.ok && progressed(await response.json())) return location.reload();
  } catch {
    // The next look may succeed.
  }
  setTimeout(poll, POLL_MS);
}

let first = null;

function progressed({ state, done, total }) {
  if (state !== words.state) return true;
  if (!total) return false;
  const bar = document.querySelector("#progress");
  [bar.max, bar.value] = [total, done];
  first ??= { done, at: Date.now() };
  const values = { done: done.toLocaleString("en-US"), total: total.toLocaleString("en-US"), percent: Math.floor((100 * done) / total) };
  const seconds = (((Date.now() - first.at) / (done - first.done)) * (total - done)) / 1000;
  const left = done > first.done ? ` · ${filled(words.left, { time: lasting(seconds) })}` : "";
  document.querySelector("#count").textContent = filled(words.count, values) + left;
  return false;
}

function lasting(seconds) {
  if (seconds < 90) return filled(words.seconds, { n: Math.max(1, Math.round(seconds)) });
  return filled(words.minutes, { n: Math.round(seconds / 60) });
}

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// Layers
async function showMap() {
  let cells;
  let regions;
  try {
    [cells, regions] = await Promise.all([
      loadCells(`${run}/cells.bin`, words),
      fetch(`${run}/outlines.json`).then((response) => response.json()),
    ]);
  } catch {
    document.querySelector("#pointed").textContent = words.noMap;
    return;
  }
  const canvas = document.createElement("canvas");
  canvas.className = "map";
  viewer.canvas.append(canvas);
  layers = new Layers(canvas, cells, regions, words.palette, { probability: Number(words.low), turns: Number(words.limit) });
  const set = (change) => {
    Object.assign(layers, change);
    redraw();
  };
  for (const choice of document.querySelectorAll("[name=layer]")) {
    choice.addEventListener("change", () => choose(choice.value));
    if (choice.checked) choose(choice.value);
  }
  const opacity = document.querySelector("#opacity");
  opacity.addEventListener("input", () => set({ opacity: opacity.value / 100 }));
  const outlines = document.querySelector("#outlines");
  outlines.addEventListener("change", () => set({ outlines: outlines.checked }));
  set({ opacity: opacity.value / 100, outlines: outlines.checked });
  canvas.dataset.ready = "yes";
  point(cells);
  walk();
}

function choose(layer) {
  layers.layer = layer;
  layers.visible = true;
  const of = layer === "probability" ? "probability" : "deviation";
  document.querySelector("#legend").hidden = layer === "refused" || layer === "none";
  for (const part of document.querySelectorAll(".scale-of")) part.toggleAttribute("hidden", part.dataset.of !== of);
  redraw();
}

// Places
function point(cells) {
  const pointed = document.querySelector("#pointed");
  const hint = pointed.textContent;
  viewer.canvas.addEventListener("pointermove", (event) => {
    const box = viewer.canvas.getBoundingClientRect();
    const place = placed(cells, event.clientX - box.left, event.clientY - box.top);
    pointed.textContent = place ? told(cells, place) : hint;
  });
  viewer.canvas.addEventListener("pointerleave", () => (pointed.textContent = hint));
  viewer.addHandler("canvas-click", ({ quick, position }) => {
    if (quick) pick(cells, placed(cells, position.x, position.y));
  });
  viewer.canvas.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target !== viewer.canvas) return;
    event.preventDefault();
    pick(cells, placed(cells, viewer.canvas.clientWidth / 2, viewer.canvas.clientHeight / 2));
  });
  document.querySelector("#cell-close").addEventListener("click", () => {
    document.querySelector("#cell").hidden = true;
    layers.place = null;
    redraw();
    viewer.canvas.focus({ preventScroll: true });
  });
}

function placed(cells, x, y) {
  const [scale, left, top] = corner();
  return cellAt(cells, (x - left) / scale, (y - top) / scale);
}

function told(cells, place) {
  const found = about(cells, place);
  const reasons = found.reasons.map((code) => page.getAttribute(`data-reason-${code.replace("_", "-")}`)).join(", ");
  const parts = [filled(words.cell, place)];
  if (found.state === "glass") parts.push(words.glass);
  if (found.state === "not_assessable") parts.push(filled(words.notAssessable, { reasons }));
  if (found.state === "hole") parts.push(filled(words.hole, { reasons }));
  for (const name of ["probability", "turns", "shifts"]) {
    if (found[name] !== null) parts.push(filled(words[name], { value: found[name].toFixed(2) }));
  }
  return parts.join(" · ");
}

function pick(cells, place) {
  if (!place) {
    announced.textContent = words.outside;
    return;
  }
  layers.place = place;
  redraw();
  const { state } = about(cells, place);
  ask(place, told(cells, place), state === "scored" || state === "not_assessable");
}

// Regions
function walk() {
  const list = document.querySelector("#region-list");
  if (!list) return;
  const buttons = () => [...list.querySelectorAll(".region")];
  const go = (button) => {
    for (const each of buttons()) each.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    (innerWidth < 1000 ? viewer.element : button).scrollIntoView({ block: "nearest" });
    announced.textContent = button.innerText.replace(/\s+/g, " ");
    layers.region = Number(button.dataset.number);
    const [left, top, right, bottom] = button.dataset.box.split(" ").map(Number);
    const wide = Math.max(right - left, 400) * 2;
    const high = Math.max(bottom - top, 400) * 2;
    const [x, y] = [(left + right - wide) / 2 - bounds.x, (top + bottom - high) / 2 - bounds.y];
    viewer.viewport.fitBounds(slide().imageToViewportRectangle(x, y, wide, high), STILL);
    redraw();
  };
  list.addEventListener("click", (event) => {
    const button = event.target.closest(".region");
    if (button) go(button);
  });
  const order = document.querySelector("#order");
  order?.addEventListener("change", () => {
    const key = (item) => Number(item.firstElementChild.dataset[order.value]);
    const sign = order.value === "doubt" ? -1 : 1;
    list.append(...[...list.children].sort((a, b) => sign * (key(a) - key(b))));
  });
  const judging = list.dataset.judged ? new Judging(list, run, words.csrf, announced) : null;
  const keys = document.querySelector("#keys");
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input:not([type=radio], [type=checkbox], [type=range]), select, textarea");
    if (!keys.checked || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "m") {
      layers.visible = !layers.visible;
      redraw();
    }
    const current = list.querySelector("[aria-current]");
    const verdict = { a: "agree", d: "disagree" }[event.key];
    if (verdict && current && judging) judging.judge(current.parentElement, verdict);
    const step = { j: 1, k: -1 }[event.key];
    if (!step) return;
    const all = buttons();
    const at = all.findIndex((each) => each.hasAttribute("aria-current"));
    go(all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + step))]);
  });
}

if (words.state === "queued" || words.state === "running") setTimeout(poll, POLL_MS);
if (words.map) viewer.addOnceHandler("open", showMap);
