// Tests of the page's parts that touch no document; run by test_scripts.py as `node data_test.js data.js`, with the
// tables that Python has packed on standard input.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const {test} = require("node:test");
const vm = require("node:vm");

vm.runInThisContext(fs.readFileSync(process.argv[2], "utf8"));
const pageScript = (expression) => vm.runInThisContext(expression);
const [Blocks, Concurrency, LOOK] = ["Blocks", "Concurrency", "LOOK"].map(pageScript);
const packed = JSON.parse(fs.readFileSync(0, "utf8"));

/** Numbers from 0 to below `size`, the same ones in every run (Park and Miller's generator). */
function makeChance(seed) {
  let state = seed;
  return (size) => {
    state = (state * 48271) % 2147483647;
    return state % size;
  };
}

/** Rows of bars that follow one another, in the order of their starts. */
function makeBars(chance, rows, count) {
  const free = new Array(rows).fill(0);
  const bars = Array.from({length: count}, () => {
    const row = chance(rows);
    const start = free[row] + chance(4) * chance(4);
    free[row] = start + chance(9);
    return {row, start, end: free[row], look: chance(50) ? LOOK.ok : LOOK.error};
  });
  return bars.sort((one, other) => one.start - other.start);
}

function blocksOf(bars, rows) {
  const blocks = new Blocks(
    Uint32Array.from(bars, (bar) => bar.row),
    bars.map((bar) => bar.start),
    bars.map((bar) => bar.end),
    rows,
  );
  blocks.paint(bars.map((bar) => bar.look));
  return blocks;
}

test("columns are read as Python has written them", async () => {
  const tables = decodeTables(packed.tables, await inflate(bytesOfBase64(packed.columns)));
  assert.equal(tables.length, packed.expected.length);
  packed.expected.forEach((columns, table) => {
    for (const [name, values] of Object.entries(columns))
      assert.deepEqual(Array.from(tables[table][name]), values, name);
  });
});

test("a walk covers every bar of the window exactly once, at every grain", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const chance = makeChance(seed);
    const rows = 1 + chance(4);
    const bars = makeBars(chance, rows, 1 + chance(2000));
    const blocks = blocksOf(bars, rows);
    const last = Math.max(...bars.map((bar) => bar.end));
    const [from, to] = chance(3) ? [chance(last + 1), last] : [0, last];
    for (let row = 0; row < rows; row++) {
      const inside = bars.filter(
        (bar) =>
          bar.row === row && bar.start <= to && (bar.end > from || (bar.end === from && bar.start === from)),
      );
      for (const grain of [0, 3, 50, 1e9]) {
        const seen = {covered: 0, worst: 0, failures: 0, until: -1, single: 0};
        blocks.walk(row, from, to, grain, (begin, end, covered, look, position) => {
          assert.ok(begin >= seen.until && end >= begin);
          if (position < 0) assert.ok(end - begin <= grain);
          seen.until = end;
          seen.covered += covered;
          seen.worst = Math.max(seen.worst, look);
          seen.single += position >= 0 ? 1 : 0;
        });
        assert.equal(
          seen.covered,
          inside.reduce((sum, bar) => sum + bar.end - bar.start, 0),
        );
        assert.equal(
          seen.worst,
          inside.reduce((worst, bar) => Math.max(worst, bar.look), 0),
        );
      }
    }
  }
});

test("one failure among 100,000 bars is in the one block that stands for all of them", () => {
  const bars = Array.from({length: 100000}, (_, at) => ({
    row: 0,
    start: 2 * at,
    end: 2 * at + 1,
    look: at === 77777 ? LOOK.error : LOOK.ok,
  }));
  const visits = [];
  blocksOf(bars, 1).walk(0, 0, 200000, 1e9, (begin, end, covered, look) => visits.push([covered, look]));
  assert.ok(visits.length < 40);
  assert.equal(
    visits.reduce((sum, [covered]) => sum + covered, 0),
    100000,
  );
  assert.equal(visits.filter(([, look]) => look === LOOK.error).length, 1);
});

test("concurrency is what counting at every instant gives", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const chance = makeChance(seed);
    const spans = Array.from({length: 1 + chance(300)}, () => {
      const start = chance(200);
      return [start, start + 1 + chance(30)];
    }).sort((one, other) => one[0] - other[0]);
    const concurrency = new Concurrency(
      Float64Array.from(spans, (span) => span[0]),
      Float64Array.from(spans, (span) => span[1]),
    );
    const alive = (time) => spans.filter(([start, end]) => start <= time && time < end).length;
    const counts = Array.from({length: 240}, (_, time) => alive(time));
    assert.equal(concurrency.peak, Math.max(...counts));
    for (let check = 0; check < 50; check++) {
      const from = chance(230);
      const to = from + 1 + chance(230 - from + 1);
      const part = counts.slice(from, to);
      assert.ok(
        Math.abs(concurrency.mean(from, to) - part.reduce((sum, count) => sum + count, 0) / part.length) <
          1e-9,
      );
      assert.equal(concurrency.most(from, to - 0.5), Math.max(...part));
    }
  }
});

test("a job is slow if it is longer than 99 % of its name and three times the median", () => {
  const lengths = [...new Array(98).fill(10), 20, 31, 500];
  const bars = {rows: lengths.length, length: lengths, name: new Array(lengths.length).fill(0)};
  assert.deepEqual(slowLimits(bars, new Array(lengths.length).fill(1), 2), [31, Infinity]);
  const alike = {
    rows: 100,
    length: Array.from({length: 100}, (_, at) => 100 + at),
    name: new Array(100).fill(0),
  };
  assert.ok(slowLimits(alike, new Array(100).fill(1), 1)[0] > 199);
});

test("durations read as they do everywhere else", () => {
  for (const [ns, text] of packed.durations) assert.equal(formatNs(ns), text);
});
