// Drawing the picture.
"use strict";

/** Bars from this width on are drawn one by one, with what is inside of them. */
const WIDE = 5;
const MOST_WIDE = 6000;
const FONT = "12px system-ui, sans-serif";

class Picture {
  constructor(canvas, model, layout) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.model = model;
    this.layout = layout;
    this.graph = new Graph(this);
    this.raster = document.createElement("canvas");
    this.palette = new Palette();
    this.selected = -1;
    this.hovered = -1;
    this.range = null;
  }

  recolor() {
    this.palette = new Palette();
    this.hatch = null;
  }

  resize(width, height) {
    this.ratio = Math.min(3, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    this.canvas.style.height = `${height}px`;
    this.layout.resize(width, height);
  }

  draw() {
    const {context, layout, palette} = this;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.font = FONT;
    context.textBaseline = "middle";
    context.fillStyle = palette.page;
    context.fillRect(0, 0, layout.width, layout.height);
    this.drawRows();
    context.fillStyle = palette.page;
    context.fillRect(0, 0, layout.width, TOP);
    this.graph.draw();
    this.drawRange();
  }

  // -- rows --------------------------------------------------------------------------------------------------------

  drawRows() {
    const {layout} = this;
    this.wide = [];
    const strips = [];
    let lines = 0;
    layout.forBands((band, top) => {
      const height = layout.rowOf(band);
      const first = Math.max(0, Math.floor((TOP - top) / height));
      const stop = Math.min(band.rows, Math.ceil((layout.height - top) / height));
      if (first >= stop) return;
      const isThin = height * this.ratio < 1;
      const own = isThin ? Math.max(1, Math.ceil((stop - first) * height * this.ratio)) : stop - first;
      strips.push({band, top, height, first, stop, isThin, line: lines, lines: own});
      lines += own;
    });
    this.fillStrips(strips, lines);
    for (const strip of strips) this.drawStrip(strip);
    layout.forBands((band, top) => this.drawBandName(band, top));
    for (const [position, y, height] of this.wide) this.drawWide(position, y, height - 1);
    this.drawMarked(this.hovered, this.palette.soft, 1);
    this.drawMarked(this.selected, this.palette.ink, 2);
  }

  /**
   * Paint the rows that are seen into one small image: a line per row or, where rows are thinner than pixels, a line
   * per pixel, in which the most important look wins.
   */
  fillStrips(strips, lines) {
    const width = this.canvas.width;
    const cells = new Uint8Array(width * lines);
    const covered = new Float32Array(width * lines);
    const rowsIn = new Uint16Array(lines);
    for (const {band, top, height, first, stop, isThin, line, lines: own} of strips) {
      for (let row = first; row < stop; row++) {
        const at =
          line + (isThin ? Math.min(own - 1, Math.floor((row - first) * height * this.ratio)) : row - first);
        rowsIn[at]++;
        this.fillRow(band.first + row, at * width, width, cells, covered, top + row * height, height);
      }
    }
    this.blit(cells, covered, rowsIn, width, lines);
  }

  /** Stretch the lines of one band into their place. */
  drawStrip({top, height, first, stop, isThin, line, lines}) {
    const {context, layout, raster} = this;
    const y = top + first * height;
    context.imageSmoothingEnabled = false;
    context.drawImage(
      raster,
      0,
      line,
      raster.width,
      lines,
      0,
      y,
      layout.width,
      isThin ? lines / this.ratio : (stop - first) * height,
    );
    if (height >= 3) this.drawGaps(top, first, stop, height);
  }

  fillRow(row, offset, width, cells, covered, y, height) {
    const {layout} = this;
    const scale = width / layout.span;
    const grain = layout.span / width;
    const takesWide = height >= 4;
    this.model.blocks.walk(row, layout.from, layout.to, grain, (from, to, time, look, position) => {
      const left = (from - layout.from) * scale;
      const right = (to - layout.from) * scale;
      if (takesWide && position >= 0 && right - left >= WIDE * this.ratio && this.wide.length < MOST_WIDE) {
        this.wide.push([position, y, height]);
      }
      const first = Math.max(0, Math.floor(left));
      const last = Math.min(width - 1, Math.max(first, Math.ceil(right) - 1));
      // A single bar covers the pixels in its middle wholly; a block is not wider than a pixel.
      const share = Math.min(1, time * scale);
      for (let x = first; x <= last; x++) {
        if (cells[offset + x] < look) cells[offset + x] = look;
        covered[offset + x] += share;
      }
    });
  }

  blit(cells, covered, rowsIn, width, lines) {
    const {shades} = this.palette;
    if (!lines) return;
    this.raster.width = width;
    this.raster.height = lines;
    const image = new ImageData(width, lines);
    const pixels = new Uint32Array(image.data.buffer);
    for (let line = 0, at = 0; line < lines; line++) {
      const rows = rowsIn[line] || 1;
      for (let x = 0; x < width; x++, at++) {
        pixels[at] = shades[cells[at]][Math.min(16, Math.round((covered[at] / rows) * 16))];
      }
    }
    this.raster.getContext("2d", {willReadFrequently: true}).putImageData(image, 0, 0);
  }

  drawGaps(top, first, stop, height) {
    const {context, layout, palette} = this;
    context.fillStyle = palette.page;
    for (let row = first + 1; row <= stop; row++) {
      context.fillRect(0, Math.round(top + row * height) - 1, layout.width, 1);
    }
  }

  drawBandName(band, top) {
    const {context, layout, palette} = this;
    const height = layout.headerOf(band);
    const y = top - height;
    if (height < NAME_HEIGHT || y > layout.height || top < TOP - 1) return;
    context.fillStyle = palette.page;
    context.fillRect(0, y, layout.width, height);
    context.fillStyle = palette.soft;
    this.text(this.model.groupName(band.group), 4, y + height / 2 + 1, layout.width - 8);
  }

  /** Write as much of a text as there is room for. */
  text(text, x, y, width) {
    const most = Math.floor(width / 6.4);
    if (most >= 2)
      this.context.fillText(text.length > most ? `${text.slice(0, most - 1)}…` : text, x, y, width);
  }

  /** Write the first of some texts that a bar has room for, so that it stands out from what is faded or hatched. */
  label(texts, x, y, width, look) {
    const {context, palette} = this;
    const text = texts.find((candidate) => candidate.length * 6.6 <= width);
    if (text === undefined) return;
    if (look !== LOOK.ok) {
      context.fillStyle = palette.looks[look];
      context.fillRect(x - 2, y - 6.5, context.measureText(text).width + 4, 13);
    }
    [context.fillStyle, context.strokeStyle] = palette.inks[look];
    context.lineWidth = 2.5;
    context.lineJoin = "round";
    context.globalAlpha = 0.25;
    context.strokeText(text, x, y);
    context.globalAlpha = 1;
    context.fillText(text, x, y);
  }

  // -- single bars -------------------------------------------------------------------------------------------------

  drawWide(position, y, height) {
    const {context, layout, model, palette} = this;
    const blocks = model.blocks;
    const bar = blocks.order[position];
    const left = layout.x(blocks.start[position]);
    const right = layout.x(blocks.end[position]);
    const look = blocks.looks[0][position];
    if (look !== LOOK.dim) this.drawInsets(bar, y, height);
    if (look === LOOK.interrupted)
      this.drawHatch(Math.max(0, left), y, Math.min(layout.width, right) - Math.max(0, left), height);
    context.fillStyle = palette.page;
    if (left > 0) context.fillRect(left, y, 1, height);
    if (height >= 11 && look !== LOOK.dim) {
      const x = Math.max(left, 0) + 4;
      this.label(
        this.names(bar),
        x,
        y + (height >= 26 ? 8 : height / 2 + 0.5),
        Math.min(right, layout.width) - x - 3,
        look,
      );
    }
  }

  /** The names of a bar, the best one first. */
  names(bar) {
    const {model} = this;
    const name = model.name(bar);
    return model.isJob[bar] ? [name, `#${model.bars.index[bar] - 1}`] : [name, `${name.slice(0, 12)}…`];
  }

  drawInsets(bar, y, height) {
    const {model, layout, context, palette} = this;
    const insets = model.insetsIn(bar);
    if (!insets.length) return;
    const {start, length, depth, kind, status} = model.insets;
    const isTall = height >= 26;
    const zone = isTall ? 17 : Math.max(1, Math.round(height * 0.72));
    let deepest = 0;
    for (const inset of insets) deepest = Math.max(deepest, depth[inset]);
    const lane = (height - zone) / Math.min(6, deepest + 1);
    for (const inset of insets) {
      const left = layout.x(start[inset]);
      const right = layout.x(start[inset] + length[inset]);
      if (right < 0 || left > layout.width) continue;
      const x = Math.max(left, -1);
      const width = Math.max(1, Math.min(right, layout.width + 1) - x);
      const type = model.texts[kind[inset]];
      if (type === "backoff" || type === "slot_wait") {
        context.fillStyle = palette.idle;
        context.fillRect(x, y, width, height);
        continue;
      }
      const look = LOOK[model.description.statuses[status[inset]]] ?? LOOK.other;
      const top = y + zone + lane * Math.min(5, depth[inset]);
      context.fillStyle = look === LOOK.ok ? palette.inset : palette.looks[look];
      context.fillRect(
        x,
        top,
        Math.max(1, width - (width > 3 ? 1 : 0)),
        Math.max(1, lane - (lane > 3 ? 1 : 0)),
      );
      if (lane >= 11 && width > 30) {
        this.label([this.insetName(inset)], Math.max(0, x) + 3, top + lane / 2, width - 6, look);
      }
    }
  }

  insetName(inset) {
    const {model} = this;
    const type = model.texts[model.insets.kind[inset]];
    const name = model.texts[model.insets.name[inset]];
    const attempt = model.insets.attempt[inset];
    return attempt ? `${type} ${attempt}` : type === name ? type : name;
  }

  drawHatch(x, y, width, height) {
    this.hatch ??= this.makeHatch();
    this.context.fillStyle = this.hatch;
    this.context.fillRect(x, y, width, height);
  }

  makeHatch() {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const context = tile.getContext("2d");
    context.strokeStyle = this.palette.page;
    context.lineWidth = 2;
    for (const shift of [-8, 0, 8]) {
      context.moveTo(shift - 1, 9);
      context.lineTo(shift + 9, -1);
    }
    context.stroke();
    return this.context.createPattern(tile, "repeat");
  }

  drawMarked(bar, color, line) {
    if (bar < 0) return;
    const {context, layout, model} = this;
    const left = layout.x(model.bars.start[bar]);
    const right = layout.x(model.barEnd[bar]);
    const [top, height] = layout.rowBox(model.rowOfBar[bar]);
    const x = Math.max(left, -4);
    context.strokeStyle = color;
    context.lineWidth = line;
    context.strokeRect(x, top, Math.max(3, Math.min(right, layout.width + 4) - x), Math.max(3, height) - 1);
  }

  // -- around the rows ----------------------------------------------------------------------------------------------

  drawRange() {
    if (!this.range) return;
    const {context, layout, palette} = this;
    const [from, to] = this.range;
    context.globalAlpha = 0.2;
    context.fillStyle = palette.accent;
    context.fillRect(Math.min(from, to), MAP_HEIGHT, Math.abs(to - from), layout.height);
    context.globalAlpha = 1;
  }

  // -- looking up --------------------------------------------------------------------------------------------------

  /** Return the most important bar at a point, and how many there are, by look. */
  at(x, y) {
    const {layout, model} = this;
    const {blocks} = model;
    const [first, stop] = layout.rowsAt(y);
    const found = {bar: -1, count: 0, looks: new Map()};
    let best = 0;
    for (let row = first; row < stop; row++) {
      const [low, high] = blocks.range(row, layout.time(x - 1.5), layout.time(x + 1.5));
      for (let at = low; at < high; at++) {
        const look = blocks.looks[0][at];
        found.count++;
        found.looks.set(look, (found.looks.get(look) ?? 0) + 1);
        if (look > best || (look === best && this.isUnder(x, at))) {
          best = look;
          found.bar = blocks.order[at];
        }
      }
    }
    return found;
  }

  isUnder(x, position) {
    const {start, end} = this.model.blocks;
    const time = this.layout.time(x);
    return start[position] <= time && time <= end[position];
  }
}
