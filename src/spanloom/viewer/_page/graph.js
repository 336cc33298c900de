// What is above the rows: which part of the run is seen, how many ran at once, what did not end well, and the time.
"use strict";

class Graph {
  constructor(picture) {
    this.picture = picture;
    this.context = picture.context;
    this.layout = picture.layout;
    this.model = picture.model;
  }

  draw() {
    this.palette = this.picture.palette;
    this.drawMap();
    this.drawGraph();
    this.drawFailures();
    this.drawAxis();
  }

  /** Which part of the run is seen. */
  drawMap() {
    const {context, layout, palette, model} = this;
    context.fillStyle = palette.row;
    context.fillRect(0, 0, layout.width, MAP_HEIGHT);
    context.fillStyle = palette.accent;
    const left = (layout.from / model.end) * layout.width;
    context.fillRect(left, 0, Math.max(3, (layout.span / model.end) * layout.width), MAP_HEIGHT);
  }

  drawGraph() {
    const {context, layout, palette, model} = this;
    const {concurrency} = model;
    const bottom = MAP_HEIGHT + GRAPH_HEIGHT;
    const scale = (GRAPH_HEIGHT - 18) / Math.max(1, concurrency.peak);
    context.fillStyle = palette.graph;
    for (let x = 0; x < layout.width; x++) {
      const mean = concurrency.mean(layout.time(x), layout.time(x + 1));
      context.fillRect(x, bottom - mean * scale, 1, mean * scale);
    }
    context.fillStyle = palette["graph-line"];
    for (let x = 0; x < layout.width; x++) {
      const most = concurrency.most(layout.time(x), layout.time(x + 1));
      if (most) context.fillRect(x, bottom - most * scale - 1, 1, 1.5);
    }
    context.fillStyle = palette.soft;
    const what = model.jobs ? "jobs" : "events";
    this.picture.text(
      `${what} running at once: at most ${formatCount(concurrency.peak)}`,
      4,
      MAP_HEIGHT + 8,
      layout.width - 8,
    );
  }

  /** When jobs ended that did not end well: every one is to be seen, however far out the zoom is. */
  drawFailures() {
    const {context, layout, palette, model} = this;
    const top = MAP_HEIGHT + GRAPH_HEIGHT;
    const counts = new Map();
    context.fillStyle = palette.row;
    context.fillRect(0, top + 1, layout.width, STRIP_HEIGHT - 2);
    for (const bar of model.bad) {
      const look = model.looks[bar];
      const x = Math.floor(layout.x(model.barEnd[bar]));
      if (x < -1 || x > layout.width + 1) continue;
      const place = Math.max(0, Math.min(Math.floor(layout.width) - 2, x - 1));
      const [count, worst] = counts.get(place) ?? [0, 0];
      counts.set(place, [count + 1, Math.max(worst, look)]);
    }
    for (const [x, [count, look]] of counts) {
      const height = Math.min(STRIP_HEIGHT - 2, 5 + 3 * Math.log2(count));
      context.fillStyle = palette.looks[look];
      context.fillRect(x, top + STRIP_HEIGHT - 1 - height, 2, height);
    }
  }

  drawAxis() {
    const {context, layout, palette, model} = this;
    const top = MAP_HEIGHT + GRAPH_HEIGHT + STRIP_HEIGHT;
    const step =
      niceStep((layout.span / Math.max(2, layout.width / 110)) * model.description.tick_ns) /
      model.description.tick_ns;
    context.strokeStyle = palette.line;
    context.lineWidth = 1;
    context.fillStyle = palette.soft;
    context.globalAlpha = 0.8;
    for (let mark = Math.ceil(layout.from / step); mark * step <= layout.to; mark++) {
      const x = Math.round(layout.x(mark * step)) + 0.5;
      context.beginPath();
      context.moveTo(x, top);
      context.lineTo(x, top + AXIS_HEIGHT);
      context.stroke();
      this.picture.text(
        formatMark(mark * step * model.description.tick_ns, step * model.description.tick_ns),
        x + 3,
        top + AXIS_HEIGHT / 2,
        100,
      );
    }
    context.globalAlpha = 1;
  }
}

/** The next longer one of 1, 2, 5, 10, 20, 50, ... */
function niceStep(length) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, length)));
  return [1, 2, 5, 10].find((step) => step * power >= length) * power;
}

/** A time on the axis, with as many digits as the step needs. */
function formatMark(ns, step) {
  const [size, unit] =
    step >= 1e8 || ns >= 1e10
      ? [1e9, "s"]
      : step >= 1e5 || ns >= 1e7
        ? [1e6, "ms"]
        : step >= 100
          ? [1e3, "us"]
          : [1, "ns"];
  const digits = Math.min(9, Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9)));
  return `${(ns / size).toLocaleString("en-US", {minimumFractionDigits: digits, maximumFractionDigits: digits})} ${unit}`;
}
