// What lies over the slide: the chosen layer, hatched places that could not be judged, outlines of regions.
import { coloursOf, mask, picture } from "./cells.js";

const OUTLINE = "#d55e00";

export class Layers {
  constructor(canvas, cells, polygons, hex, full) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.spare = document.createElement("canvas");
    this.cells = cells;
    this.polygons = polygons;
    this.palette = coloursOf(hex);
    this.full = { ...full, shifts: full.turns };
    this.pictures = {};
    this.refused = mask(cells, "not_assessable");
    this.holes = mask(cells, "hole");
    this.layer = "probability";
    this.visible = true;
    this.outlines = true;
    this.opacity = 0.55;
    this.region = null;
    this.place = null;
  }

  // scale: screen pixels per level-0 pixel; left, top: where the slide's corner is on the screen.
  draw(scale, left, top) {
    const dense = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    for (const each of [this.canvas, this.spare]) {
      each.width = Math.round(width * dense);
      each.height = Math.round(height * dense);
    }
    this.view = [scale * dense, 0, 0, scale * dense, left * dense, top * dense];
    const { context } = this;
    context.setTransform(...this.view);
    context.imageSmoothingEnabled = false;
    if (this.visible && this.layer !== "none") {
      context.globalAlpha = this.opacity;
      if (this.layer !== "refused") {
        this.pictures[this.layer] ??= picture(this.cells, this.layer, this.palette, this.full[this.layer]);
        this.spread(context, this.pictures[this.layer]);
      }
      context.globalAlpha = this.layer === "refused" ? 1 : Math.max(this.opacity, 0.75);
      this.patterned(this.refused, "#e1e1e1", "#787878", hatch, dense);
      this.patterned(this.holes, "#ffffff", "#000000", cross, dense);
      context.globalAlpha = 1;
    }
    if (this.visible && this.outlines && this.layer !== "none") {
      this.polygons.forEach((_, index) => index + 1 !== this.region && this.outline(index, 2));
    }
    if (this.region !== null) this.outline(this.region - 1, 4);
    if (this.place) this.square(this.place);
  }

  spread(context, picture) {
    const { x, y, columns, rows } = this.cells;
    context.drawImage(picture, x[0], y[0], x[columns] - x[0], y[rows] - y[0]);
  }

  patterned(shape, ground, ink, draw, dense) {
    const spare = this.spare.getContext("2d");
    spare.setTransform(1, 0, 0, 1, 0, 0);
    spare.globalCompositeOperation = "copy";
    spare.imageSmoothingEnabled = false;
    spare.setTransform(...this.view);
    this.spread(spare, shape);
    spare.setTransform(1, 0, 0, 1, 0, 0);
    spare.globalCompositeOperation = "source-in";
    spare.fillStyle = spare.createPattern(draw(ground, ink, dense), "repeat");
    spare.fillRect(0, 0, this.spare.width, this.spare.height);
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.drawImage(this.spare, 0, 0);
    this.context.setTransform(...this.view);
  }

  outline(index, width) {
    const { context } = this;
    const path = new Path2D();
    for (const polygon of this.polygons[index]) {
      for (const ring of polygon) {
        ring.forEach(([x, y], corner) => (corner ? path.lineTo(x, y) : path.moveTo(x, y)));
        path.closePath();
      }
    }
    this.stroke(path, width + 2, "#ffffff");
    this.stroke(path, width, OUTLINE);
    this.number(String(index + 1), this.polygons[index][0][0]);
    context.setTransform(...this.view);
  }

  number(text, ring) {
    const { context } = this;
    const dense = devicePixelRatio || 1;
    const top = Math.min(...ring.map(([, y]) => y));
    const left = Math.min(...ring.filter(([, y]) => y === top).map(([x]) => x));
    const [scale, , , , shiftX, shiftY] = this.view;
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.font = "600 13px system-ui, sans-serif";
    const wide = context.measureText(text).width + 8;
    const [x, y] = [(left * scale + shiftX) / dense, (top * scale + shiftY) / dense - 18];
    context.fillStyle = OUTLINE;
    context.fillRect(x - 2, y, wide, 18);
    context.fillStyle = "#000000";
    context.fillText(text, x + 2, y + 13.5);
  }

  stroke(path, width, colour) {
    this.context.lineWidth = (width * (devicePixelRatio || 1)) / this.view[0];
    this.context.lineJoin = "round";
    this.context.strokeStyle = colour;
    this.context.stroke(path);
  }

  square({ column, row }) {
    const { x, y } = this.cells;
    const path = new Path2D();
    path.rect(x[column], y[row], x[column + 1] - x[column], y[row + 1] - y[row]);
    this.stroke(path, 5, "#ffffff");
    this.stroke(path, 2.5, "#000000");
  }
}

function hatch(ground, ink, dense) {
  return pattern(8, dense, ground, ink, [[-2, 2, 2, -2], [0, 8, 8, 0], [6, 10, 10, 6]]);
}

function cross(ground, ink, dense) {
  return pattern(8, dense, ground, ink, [[0, 0, 8, 8], [0, 8, 8, 0]]);
}

function pattern(size, dense, ground, ink, lines) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = Math.round(size * dense);
  const pen = tile.getContext("2d");
  pen.scale(tile.width / size, tile.width / size);
  pen.fillStyle = ground;
  pen.fillRect(0, 0, size, size);
  pen.strokeStyle = ink;
  pen.lineWidth = 1.6;
  for (const [x0, y0, x1, y1] of lines) {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }
  return tile;
}
