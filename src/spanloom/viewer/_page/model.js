// All that the page knows of a run. Touches no document.
"use strict";

/** All that the page knows, by bar and by inset. */
class Model {
  constructor(description, tables) {
    const [batches, bars, insets] = tables;
    Object.assign(this, {
      description,
      batches,
      bars,
      insets,
      texts: description.texts,
      bands: description.bands,
    });
    this.end = Math.max(1, description.end);
    this.rows = this.placeBands();
    this.barEnd = bars.start.map((start, bar) => start + bars.length[bar]);
    this.isJob = Uint8Array.from(bars.batch, (batch) => (batch ? 1 : 0));
    this.jobs = this.isJob.reduce((sum, one) => sum + one, 0);
    this.rowOfBar = Uint32Array.from(bars.slot, (slot, bar) => this.bands[this.bandOf(bar)].first + slot);
    this.blocks = new Blocks(this.rowOfBar, bars.start, this.barEnd, this.rows);
    this.insetsOf = groupBy(insets.bar, bars.rows);
    this.looks = this.findLooks();
    this.concurrency = this.findConcurrency();
    this.bad = Uint32Array.from(this.barsWhere((bar) => this.looks[bar] >= FIRST_BAD && this.isMain(bar)));
  }

  /** Jobs are what counts; where there are none, everything does. */
  isMain(bar) {
    return this.jobs === 0 || this.isJob[bar] === 1;
  }

  /** Put the bands of one name together, below those that they were started from; return how many rows there are. */
  placeBands() {
    const byKey = new Map();
    this.bands.forEach((band, number) => {
      if (!band.rows) return;
      const key = `${band.parent}/${band.name}`;
      if (!byKey.has(key)) byKey.set(key, {parent: band.parent, bands: []});
      byKey.get(key).bands.push(number);
    });
    this.groups = [];
    this.shownBands = [];
    let first = 0;
    const place = (parents) => {
      for (const group of byKey.values()) {
        if (!parents.has(group.parent) || group.isPlaced) continue;
        group.isPlaced = true;
        this.groups.push(group);
        group.bands.forEach((number, at) => {
          const band = this.bands[number];
          Object.assign(band, {first, group, isFirst: at === 0});
          first += band.rows;
          this.shownBands.push(band);
        });
        place(new Set(group.bands));
      }
    };
    place(new Set([-1]));
    return first;
  }

  /** What is written above a group of bands. */
  groupName({parent, bands}) {
    const [first] = bands.map((number) => this.bands[number]);
    const rows = bands.reduce((sum, number) => sum + this.bands[number].rows, 0);
    const parts = [
      first.name,
      parent < 0 ? "" : `in ${this.bands[parent].name}`,
      first.note,
      bands.length > 1 ? `${formatCount(bands.length)} at once` : "",
      `${formatCount(rows)} ${rows === 1 ? "row" : "rows"}`,
    ];
    return parts.filter((part) => part).join(" · ");
  }

  bandOf(bar) {
    return this.batches.band[this.bars.batch[bar]];
  }

  barsWhere(test) {
    const found = [];
    for (let bar = 0; bar < this.bars.rows; bar++) if (test(bar)) found.push(bar);
    return found;
  }

  findLooks() {
    const limits = slowLimits(this.bars, this.isJob, this.texts.length);
    const byStatus = this.description.statuses.map((status) => LOOK[status] ?? LOOK.other);
    return Uint8Array.from(this.bars.status, (status, bar) => {
      const look = byStatus[status];
      return look === LOOK.ok && this.isJob[bar] && this.bars.length[bar] > limits[this.bars.name[bar]]
        ? LOOK.slow
        : look;
    });
  }

  findConcurrency() {
    const counted = this.barsWhere((bar) => this.isMain(bar));
    return new Concurrency(
      Float64Array.from(counted, (bar) => this.bars.start[bar]),
      Float64Array.from(counted, (bar) => this.barEnd[bar]),
    );
  }

  insetsIn(bar) {
    return this.insetsOf.order.subarray(this.insetsOf.begins[bar], this.insetsOf.begins[bar + 1]);
  }

  name(bar) {
    const name = this.texts[this.bars.name[bar]];
    return this.bars.index[bar] ? `${name} #${this.bars.index[bar] - 1}` : name;
  }

  status(bar) {
    return this.description.statuses[this.bars.status[bar]];
  }

  error(number) {
    return number ? this.description.errors[number - 1] : null;
  }

  queued(bar) {
    return this.isJob[bar]
      ? Math.max(0, this.bars.start[bar] - this.batches.start[this.bars.batch[bar]] - this.bars.ready[bar])
      : 0;
  }

  /** Return a test for bars: `#12` or `12` finds an index, anything else is looked for in name, status and error. */
  matcher(query) {
    const wanted = query.trim().toLowerCase();
    const index = /^#?(\d+)$/.exec(wanted);
    const has = (text) => text.toLowerCase().includes(wanted);
    const names = this.texts.map(has);
    const errors = this.description.errors.map((error) => has(error.type) || has(error.message));
    const statuses = this.description.statuses.map((status) => status === wanted);
    const {bars} = this;
    return (bar) =>
      (index !== null && bars.index[bar] === Number(index[1]) + 1) ||
      (!wanted.startsWith("#") &&
        index === null &&
        (names[bars.name[bar]] ||
          statuses[bars.status[bar]] ||
          (bars.error[bar] > 0 && errors[bars.error[bar] - 1])));
  }

  format(ticks) {
    return formatNs(ticks * this.description.tick_ns);
  }
}
