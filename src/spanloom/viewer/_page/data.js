// Reading the page's data, and what is computed from it once. Nothing in this file touches the document.
"use strict";

/** How a bar looks, in rising order of importance: of bars that share a pixel, the most important one is seen. */
const LOOKS = [
  "none",
  "dim",
  "ok",
  "slow",
  "skipped",
  "other",
  "open",
  "cancelled",
  "interrupted",
  "timeout",
  "error",
];
const LOOK = Object.fromEntries(LOOKS.map((name, number) => [name, number]));
const FIRST_BAD = LOOK.cancelled;

function bytesOfBase64(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
  return bytes;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Return one object per table: its number of rows, and each column by its name. The inverse of _html_columns.pack. */
function decodeTables(tables, bytes) {
  let offset = 0;
  return tables.map(({rows, columns}) => {
    const table = {rows};
    for (const {name, form, planes} of columns) {
      table[name] = decodeColumn(bytes, offset, rows, planes, form);
      offset += rows * planes;
    }
    return table;
  });
}

function decodeColumn(bytes, offset, rows, planes, form) {
  const column = new Float64Array(rows);
  for (let plane = 0, unit = 1; plane < planes; plane++, unit *= 256, offset += rows) {
    for (let row = 0; row < rows; row++) column[row] += bytes[offset + row] * unit;
  }
  if (form === "near") {
    for (let row = 0; row < rows; row++)
      column[row] = column[row] % 2 ? -(column[row] + 1) / 2 : column[row] / 2;
  }
  if (form !== "plain") for (let row = 1; row < rows; row++) column[row] += column[row - 1];
  return column;
}

/** Return, for keys from 0 to `count` - 1, where the rows of each begin in the list of rows ordered by key. */
function groupBy(keys, count) {
  const begins = new Uint32Array(count + 1);
  for (let row = 0; row < keys.length; row++) begins[keys[row] + 1]++;
  for (let key = 0; key < count; key++) begins[key + 1] += begins[key];
  const next = begins.slice();
  const order = new Uint32Array(keys.length);
  for (let row = 0; row < keys.length; row++) order[next[keys[row]]++] = row;
  return {begins, order};
}

/** Return the first position in [low, high) whose value is greater than `value`, or `high`. */
function firstAfter(values, value, low, high) {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle] > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * Return, by name, from which length a job is called slow: longer than 99 % of the jobs of its name, and at least
 * three times their median. Names with fewer than 20 jobs have no slow ones.
 */
function slowLimits(bars, isJob, names) {
  const lengths = Array.from({length: names}, () => []);
  for (let bar = 0; bar < bars.rows; bar++) if (isJob[bar]) lengths[bars.name[bar]].push(bars.length[bar]);
  return lengths.map((values) => {
    if (values.length < 20) return Infinity;
    const sorted = Float64Array.from(values).sort();
    return Math.max(
      sorted[Math.ceil(0.99 * sorted.length) - 1],
      3 * sorted[Math.ceil(sorted.length / 2) - 1],
    );
  });
}

/** Return the largest of the first eight values, of the next eight, and so on. */
function mostOfEight(below) {
  const here = new below.constructor(Math.ceil(below.length / 8));
  for (let at = 0; at < below.length; at++) if (below[at] > here[at >> 3]) here[at >> 3] = below[at];
  return here;
}

/**
 * Bars in order of row and start, with aggregates of 8, 64, 512, ... neighbours: how much of its time such a block is
 * covered, and the most important look in it. Drawing takes whole blocks where a block is not wider than a pixel, so a
 * frame costs as much as it has pixels, and no bar is ever left out.
 */
class Blocks {
  constructor(rowOfBar, start, end, rows) {
    const {begins, order} = groupBy(rowOfBar, rows);
    this.begins = begins;
    this.order = order;
    this.start = Float64Array.from(order, (bar) => start[bar]);
    this.end = Float64Array.from(order, (bar) => end[bar]);
    this.covered = [Float64Array.from(order, (bar) => end[bar] - start[bar])];
    for (let size = order.length; size > 8;) {
      size = Math.ceil(size / 8);
      this.covered.push(new Float64Array(size));
    }
    for (let level = 1; level < this.covered.length; level++) {
      const below = this.covered[level - 1];
      for (let at = 0; at < below.length; at++) this.covered[level][at >> 3] += below[at];
    }
  }

  /** Give every bar its look. */
  paint(lookOfBar) {
    this.looks = [Uint8Array.from(this.order, (bar) => lookOfBar[bar])];
    while (this.looks.length < this.covered.length)
      this.looks.push(mostOfEight(this.looks[this.looks.length - 1]));
  }

  /** Return the positions [low, high) of a row whose bars touch the time from `from` to `to`. */
  range(row, from, to) {
    const low = this.begins[row];
    const high = this.begins[row + 1];
    // In a row bars follow one another, so their ends are in order, too. Half-open: a bar that ends at `from` is out,
    // unless it has no length.
    let first = firstAfter(this.end, from, low, high);
    while (first > low && this.end[first - 1] === from && this.start[first - 1] === from) first--;
    return [first, firstAfter(this.start, to, first, high)];
  }

  /**
   * Call `visit(from, to, covered, look, position)` for all bars of a row in a time: one by one where they are longer
   * than `grain`, else in blocks not longer than that. `position` is -1 for a block.
   */
  walk(row, from, to, grain, visit) {
    const [first, stop] = this.range(row, from, to);
    let at = first;
    while (at < stop) {
      let level = 0;
      let size = 1;
      while (
        level + 1 < this.looks.length &&
        at % (size * 8) === 0 &&
        at + size * 8 <= stop &&
        this.end[at + size * 8 - 1] - this.start[at] <= grain
      ) {
        level++;
        size *= 8;
      }
      const block = at / size;
      visit(
        this.start[at],
        this.end[at + size - 1],
        this.covered[level][block],
        this.looks[level][block],
        level ? -1 : at,
      );
      at += size;
    }
  }
}

/** Return when the number of those alive changes, and to what; of the starts and the ends, each in order. */
function countAlive(starts, ends) {
  const times = [0];
  const counts = [0];
  let alive = 0;
  let started = 0;
  let ended = 0;
  const endAt = (time) => {
    for (; ends[ended] === time && alive > 0; ended++) alive--;
  };
  const note = (time) => {
    times.push(time);
    counts.push(alive);
  };
  while (ended < ends.length) {
    const time = starts[started] < ends[ended] ? starts[started] : ends[ended];
    // What ends and what starts at one instant changes hands: it does not count as two at once. What starts and ends
    // at one instant was there, if for no time.
    endAt(time);
    for (; starts[started] === time; started++) alive++;
    note(time);
    endAt(time);
    if (alive !== counts[counts.length - 1]) note(time);
  }
  return {times, counts};
}

/** How many jobs were alive, over time: exact at every instant, with the extremes and the mean of any stretch of time. */
class Concurrency {
  constructor(starts, ends) {
    const {times, counts} = countAlive(starts, ends.slice().sort());
    this.times = Float64Array.from(times);
    this.counts = Uint32Array.from(counts);
    this.areas = new Float64Array(times.length);
    for (let at = 1; at < times.length; at++) {
      this.areas[at] = this.areas[at - 1] + counts[at - 1] * (times[at] - times[at - 1]);
    }
    this.peaks = [this.counts];
    while (this.peaks[this.peaks.length - 1].length > 1)
      this.peaks.push(mostOfEight(this.peaks[this.peaks.length - 1]));
    this.peak = this.peaks[this.peaks.length - 1][0];
  }

  areaUntil(time) {
    const at = Math.max(0, firstAfter(this.times, time, 0, this.times.length) - 1);
    return this.areas[at] + this.counts[at] * Math.max(0, time - this.times[at]);
  }

  mean(from, to) {
    return to > from ? (this.areaUntil(to) - this.areaUntil(from)) / (to - from) : 0;
  }

  most(from, to) {
    const low = Math.max(0, firstAfter(this.times, from, 0, this.times.length) - 1);
    const high = Math.max(low + 1, firstAfter(this.times, to, low, this.times.length));
    let most = 0;
    for (let at = low; at < high;) {
      let level = 0;
      let size = 1;
      while (level + 1 < this.peaks.length && at % (size * 8) === 0 && at + size * 8 <= high) {
        level++;
        size *= 8;
      }
      most = Math.max(most, this.peaks[level][at / size]);
      at += size;
    }
    return most;
  }
}

/** Three significant digits and a unit, as everywhere in spanloom. */
function formatNs(ns) {
  for (const [size, unit] of [
    [1e9, "s"],
    [1e6, "ms"],
    [1e3, "us"],
  ]) {
    if (ns * 10000 >= size * 9995) {
      const value = ns / size;
      const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
      return `${value.toLocaleString("en-US", {minimumFractionDigits: digits, maximumFractionDigits: digits})} ${unit}`;
    }
  }
  return `${Math.round(ns)} ns`;
}

function formatCount(number) {
  return number.toLocaleString("en-US");
}
