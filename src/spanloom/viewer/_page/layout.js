// What is where in the picture, and which colour it has. Lengths are CSS pixels.
"use strict";

const GRAPH_HEIGHT = 64;
const STRIP_HEIGHT = 14;
const AXIS_HEIGHT = 20;
const MAP_HEIGHT = 5;
const TOP = MAP_HEIGHT + GRAPH_HEIGHT + STRIP_HEIGHT + AXIS_HEIGHT;
const MAX_ROW_HEIGHT = 64;
const FULL_ROW_HEIGHT = 20;
const NAME_HEIGHT = 18;
/** With more differently named batches than this, names would take the place of the rows. */
const MOST_NAMED = 16;
/** What happened outside of jobs is what names the parts of the run: up to this many rows of it stay readable. */
const READABLE_ROWS = 8;
const READABLE_ROW_HEIGHT = 16;

/** The window of the run that is seen, and where on the canvas everything in it is. Lengths are CSS pixels. */
class Layout {
  constructor(model) {
    this.model = model;
    this.width = 0;
    this.height = 0;
    this.hasNames = model.groups.length <= MOST_NAMED;
    this.fit();
  }

  fit() {
    this.from = 0;
    this.to = this.model.end;
    this.scroll = 0;
    this.rowHeight = null;
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
    this.clamp();
  }

  /** The height that shows every row at full height. */
  get wantedHeight() {
    return TOP + this.headers + this.model.rows * FULL_ROW_HEIGHT + 4;
  }

  get headers() {
    return this.model.shownBands.reduce((sum, band) => sum + this.headerOf(band), 0);
  }

  /** The room above a band: for its name, if it is the first one of that name, else for a gap. */
  headerOf(band) {
    return this.hasNames && band.isFirst ? NAME_HEIGHT : 3;
  }

  get fittingRowHeight() {
    const outside = this.model.bands[0].rows;
    const isReadable = outside > 0 && outside <= READABLE_ROWS;
    const height = this.height - TOP - this.headers - 4 - (isReadable ? outside * READABLE_ROW_HEIGHT : 0);
    return Math.min(
      FULL_ROW_HEIGHT,
      Math.max(0.02, height / Math.max(1, this.model.rows - (isReadable ? outside : 0))),
    );
  }

  /** The height of a row of this band. */
  rowOf(band) {
    const isReadable = band === this.model.bands[0] && band.rows <= READABLE_ROWS;
    return isReadable ? Math.max(this.row, READABLE_ROW_HEIGHT) : this.row;
  }

  get row() {
    return this.rowHeight ?? this.fittingRowHeight;
  }

  get span() {
    return this.to - this.from;
  }

  get isWhole() {
    return this.from <= 0 && this.to >= this.model.end;
  }

  x(time) {
    return ((time - this.from) / this.span) * this.width;
  }

  time(x) {
    return this.from + (x / this.width) * this.span;
  }

  /** Zoom in time by a factor; what is at `x` stays there. */
  zoom(factor, x = this.width / 2) {
    const fixed = this.time(x);
    const least = Math.min(this.model.end, 20);
    const span = Math.min(this.model.end, Math.max(least, this.span / factor));
    this.from = fixed - (x / this.width) * span;
    this.to = this.from + span;
    this.clamp();
  }

  show(from, to) {
    const least = Math.min(this.model.end, 20);
    const middle = (from + to) / 2;
    const span = Math.min(this.model.end, Math.max(least, to - from));
    this.from = middle - span / 2;
    this.to = middle + span / 2;
    this.clamp();
  }

  pan(dx, dy = 0) {
    const time = (dx / this.width) * this.span;
    this.from += time;
    this.to += time;
    this.scroll += dy;
    this.clamp();
  }

  scaleRows(factor, y = this.height / 2) {
    const before = this.row;
    const row = Math.min(MAX_ROW_HEIGHT, Math.max(this.fittingRowHeight, before * factor));
    this.rowHeight = row <= this.fittingRowHeight ? null : row;
    this.scroll = ((this.scroll + y - TOP) * row) / before - (y - TOP);
    this.clamp();
  }

  reveal(row) {
    const [y, height] = this.rowBox(row);
    if (y < TOP + NAME_HEIGHT) this.scroll -= TOP + NAME_HEIGHT - y;
    if (y + height > this.height) this.scroll += y + height - this.height;
    this.clamp();
  }

  clamp() {
    const span = this.span;
    if (this.from < 0) this.from = 0;
    if (this.from > this.model.end - span) this.from = Math.max(0, this.model.end - span);
    this.to = this.from + span;
    const content = this.model.bands.reduce(
      (sum, band) => sum + band.rows * this.rowOf(band),
      this.headers + 4,
    );
    this.scroll = Math.max(0, Math.min(this.scroll, content - (this.height - TOP)));
  }

  /** Call `visit(band, top)` for every band with rows; `top` is where its first row begins. */
  forBands(visit) {
    let y = TOP - this.scroll;
    for (const band of this.model.shownBands) {
      y += this.headerOf(band);
      visit(band, y);
      y += band.rows * this.rowOf(band);
    }
  }

  /** Return top and height of a row. */
  rowBox(row) {
    let box = [0, 0];
    this.forBands((band, top) => {
      const height = this.rowOf(band);
      if (row >= band.first && row < band.first + band.rows)
        box = [top + (row - band.first) * height, height];
    });
    return box;
  }

  /** Return the rows at `y`, from the first one up to and without the last one; several if they are thin. */
  rowsAt(y) {
    let found = [0, 0];
    if (y < TOP) return found;
    this.forBands((band, top) => {
      const height = this.rowOf(band);
      const reach = height < 3 ? 1.5 : 0;
      const low = Math.max(0, Math.floor((y - reach - top) / height));
      const high = Math.min(band.rows, Math.floor((y + reach - top) / height) + 1);
      if (low < high) found = [band.first + low, band.first + high];
    });
    return found;
  }
}

/** Colours, read from the style sheet, so that dark, light and print are settled in one place. */
class Palette {
  constructor() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(`--${name}`).trim();
    for (const name of [
      "page",
      "ink",
      "soft",
      "line",
      "row",
      "graph",
      "idle",
      "inset",
      "accent",
      "graph-line",
    ]) {
      this[name] = read(name);
    }
    this.looks = LOOKS.map((look) => (look === "none" ? this.row : read(look)));
    this.channels = this.looks.map((color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)));
    this.ground = [1, 3, 5].map((at) => parseInt(this.row.slice(at, at + 2), 16));
    const isLight = ([red, green, blue]) => 0.3 * red + 0.6 * green + 0.1 * blue > 150;
    this.inks = this.channels.map((channels) =>
      isLight(channels) ? ["#10161e", "#ffffff"] : ["#ffffff", "#10161e"],
    );
    this.shades = this.channels.map((channels, look) => this.makeShades(channels, look));
  }

  /** 17 shades, from a pixel that is hardly covered to one that is full. What did not end well is never faint. */
  makeShades(channels, look) {
    return Uint32Array.from({length: 17}, (_, step) => {
      const share = look >= LOOK.slow ? 1 : 0.3 + (0.7 * step) / 16;
      const [red, green, blue] = channels.map((channel, at) =>
        Math.round(channel * share + this.ground[at] * (1 - share)),
      );
      return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
  }
}
