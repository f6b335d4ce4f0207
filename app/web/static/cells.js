// A run's cells as the server packs them, and the pictures that are made of them, one pixel a cell.
const NOTHING = 0xffff;
const ONE = NOTHING - 1;

export async function loadCells(address, words) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(String(response.status));
  return readCells(await response.arrayBuffer(), words);
}

function readCells(buffer, { states, reasons }) {
  const [columns, rows] = new Int32Array(buffer, 0, 2);
  const count = columns * rows;
  let at = 8;
  const take = (Kind, length) => {
    const part = new Kind(buffer, at, length);
    at += part.byteLength;
    return part;
  };
  const x = take(Int32Array, columns + 1);
  const y = take(Int32Array, rows + 1);
  const values = {
    probability: take(Uint16Array, count),
    turns: take(Uint16Array, count),
    shifts: take(Uint16Array, count),
  };
  const state = take(Uint8Array, count);
  const reason = take(Uint8Array, count);
  return { columns, rows, x, y, values, state, reason, states: states.split(" "), reasons: reasons.split(" ") };
}

// The cell at a place in level-0 pixels; null beside the grid.
export function cellAt(cells, x, y) {
  const column = between(cells.x, x);
  const row = between(cells.y, y);
  return column === null || row === null ? null : { column, row };
}

function between(edges, value) {
  if (value < edges[0] || value >= edges[edges.length - 1]) return null;
  let low = 0;
  let high = edges.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (edges[middle] <= value) low = middle;
    else high = middle;
  }
  return low;
}

export function about(cells, { column, row }) {
  const index = row * cells.columns + column;
  const value = (name) => (cells.values[name][index] === NOTHING ? null : cells.values[name][index] / ONE);
  return {
    state: cells.states[cells.state[index]],
    reasons: cells.reasons.filter((_, bit) => cells.reason[index] & (1 << bit)),
    probability: value("probability"),
    turns: value("turns"),
    shifts: value("shifts"),
  };
}

const FAINT = 70;

// One measure in the map's colours; deviations are drawn from 0 to one half. Values below `full` are fainter, so that
// tissue of which the map has little to say stays visible.
export function picture(cells, layer, palette, full) {
  const values = cells.values[layer];
  const stretch = layer === "probability" ? 1 : 2;
  return drawn(cells, (pixels) => {
    for (let index = 0; index < values.length; index += 1) {
      if (values[index] === NOTHING) continue;
      const step = Math.min(255, Math.round((255 * stretch * values[index]) / ONE));
      pixels.set(palette.subarray(3 * step, 3 * step + 3), 4 * index);
      pixels[4 * index + 3] = FAINT + (255 - FAINT) * Math.min(1, values[index] / ONE / (full || 1));
    }
  });
}

// Where cells are in a state, opaque.
export function mask(cells, state) {
  const wanted = cells.states.indexOf(state);
  return drawn(cells, (pixels) => {
    for (let index = 0; index < cells.state.length; index += 1) {
      if (cells.state[index] === wanted) pixels[4 * index + 3] = 255;
    }
  });
}

function drawn(cells, fill) {
  const canvas = document.createElement("canvas");
  canvas.width = cells.columns;
  canvas.height = cells.rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(cells.columns, cells.rows);
  fill(image.data);
  context.putImageData(image, 0, 0);
  return canvas;
}

export function coloursOf(hex) {
  return Uint8Array.from(hex.match(/../g), (two) => parseInt(two, 16));
}
