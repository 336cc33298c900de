// What can be done to the picture, by buttons and by keys.
"use strict";

const PAN_STEP = 0.2;
const ZOOM_STEP = 1.6;

const LOOK_WORDS = {
  ok: "ok",
  slow: "ok, but slow for its name",
  skipped: "skipped",
  other: "other",
  open: "still running",
  cancelled: "cancelled",
  interrupted: "interrupted by the end of the process",
  timeout: "timed out",
  error: "failed",
};

class Controls {
  constructor(model) {
    this.model = model;
    this.canvas = byId("canvas");
    this.layout = new Layout(model);
    this.picture = new Picture(this.canvas, model, this.layout);
    this.hiddenLooks = new Set();
    this.matches = null;
    this.isWaiting = false;
    this.repaint();
    this.fill();
    this.bindButtons();
    this.pointer = new Pointer(this);
    this.bindKeys();
    this.search = new Search(this);
    this.bindSurroundings();
  }

  /** Make the picture as large as its place, and draw it. */
  fill() {
    const width = Math.max(200, byId("stage").clientWidth);
    const most = Math.max(280, Math.min(900, window.innerHeight * 0.68));
    this.picture.resize(width, Math.round(Math.min(most, Math.max(220, this.layout.wantedHeight))));
    this.picture.draw();
  }

  /** Draw before the next frame, once however often it is asked for. */
  redraw() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.picture.draw();
    });
  }

  /** Give every bar its look: dimmed if a filter or the search leaves it out. */
  repaint() {
    const {looks, blocks} = this.model;
    const isLeftOut = (bar) =>
      this.hiddenLooks.has(looks[bar]) || (this.matches !== null && !this.matches.has(bar));
    const isAll = this.hiddenLooks.size === 0 && this.matches === null;
    blocks.paint(isAll ? looks : looks.map((look, bar) => (isLeftOut(bar) ? LOOK.dim : look)));
  }

  // -- selecting -------------------------------------------------------------------------------------------------------

  select(bar, {zooms = false} = {}) {
    this.picture.selected = bar;
    if (bar >= 0) {
      const {start} = this.model.bars;
      const isSeen = this.model.barEnd[bar] >= this.layout.from && start[bar] <= this.layout.to;
      if (zooms || !isSeen) this.zoomTo(bar);
      this.layout.reveal(this.model.rowOfBar[bar]);
    }
    showSelected(this.model, bar, {
      "zoom to it": () => this.select(bar, {zooms: true}),
      "previous in this row": () => this.selectNeighbour(-1),
      "next in this row": () => this.selectNeighbour(1),
      close: () => {
        this.select(-1);
        this.canvas.focus();
      },
    });
    this.redraw();
  }

  zoomTo(bar) {
    const length = Math.max(this.model.bars.length[bar], 1);
    this.layout.show(this.model.bars.start[bar] - length * 1.5, this.model.barEnd[bar] + length * 1.5);
    if (this.layout.row < 28) this.layout.scaleRows(28 / this.layout.row);
  }

  selectNeighbour(step) {
    const {selected} = this.picture;
    const {blocks, rowOfBar} = this.model;
    if (selected < 0) return;
    const row = rowOfBar[selected];
    const inRow = blocks.order.subarray(blocks.begins[row], blocks.begins[row + 1]);
    const next = inRow.indexOf(selected) + step;
    if (next >= 0 && next < inRow.length) this.select(inRow[next]);
  }

  /** Select the next or previous bar of those that were found or, without a search, that did not end well. */
  selectNext(step) {
    const list = this.matches ? Array.from(this.matches) : this.model.bad;
    if (!list.length) return;
    const {selected} = this.picture;
    const at =
      step > 0 ? list.findIndex((bar) => bar > selected) : list.findLastIndex((bar) => bar < selected);
    const next = at >= 0 && (selected >= 0 || step > 0) ? at : step > 0 ? 0 : list.length - 1;
    this.select(list[next], {zooms: true});
  }

  // -- buttons and keys ------------------------------------------------------------------------------------------------

  act(name) {
    const {layout} = this;
    const width = layout.width * PAN_STEP;
    const actions = {
      "zoom-in": () => layout.zoom(ZOOM_STEP),
      "zoom-out": () => layout.zoom(1 / ZOOM_STEP),
      "pan-left": () => layout.pan(-width),
      "pan-right": () => layout.pan(width),
      "pan-up": () => layout.pan(0, -60),
      "pan-down": () => layout.pan(0, 60),
      taller: () => layout.scaleRows(1.4),
      flatter: () => layout.scaleRows(1 / 1.4),
      fit: () => layout.fit(),
      "next-failed": () => this.selectNext(1),
      "last-failed": () => this.selectNext(-1),
      before: () => this.selectNeighbour(-1),
      after: () => this.selectNeighbour(1),
      "zoom-selected": () => this.picture.selected >= 0 && this.zoomTo(this.picture.selected),
      clear: () => this.select(-1),
    };
    actions[name]();
    layout.clamp();
    this.redraw();
  }

  bindButtons() {
    for (const id of [
      "zoom-in",
      "zoom-out",
      "pan-left",
      "pan-right",
      "taller",
      "flatter",
      "fit",
      "next-failed",
    ]) {
      byId(id).addEventListener("click", () => this.act(id));
    }
    byId("next-failed").disabled = this.model.bad.length === 0;
    this.addLegend();
  }

  /** One button per look that occurs: it explains the colour, counts, and filters. */
  addLegend() {
    const {model} = this;
    const counts = new Array(LOOKS.length).fill(0);
    for (let bar = 0; bar < model.bars.rows; bar++) if (model.isMain(bar)) counts[model.looks[bar]]++;
    for (let look = LOOKS.length - 1; look > LOOK.dim; look--) {
      if (!counts[look]) continue;
      const text = `${LOOK_WORDS[LOOKS[look]]}: ${formatCount(counts[look])}`;
      const button = element("button", {type: "button", "aria-pressed": "true", title: "Show or dim these"}, [
        element("span", {className: `swatch swatch-${LOOKS[look]}`}),
        element("span", {}, text),
      ]);
      button.addEventListener("click", () => this.toggle(look, button));
      byId("legend").append(button);
    }
  }

  toggle(look, button) {
    const wasHidden = this.hiddenLooks.delete(look);
    if (!wasHidden) this.hiddenLooks.add(look);
    button.setAttribute("aria-pressed", String(wasHidden));
    this.repaint();
    this.redraw();
  }

  bindKeys() {
    const keys = {
      "+": "zoom-in",
      "=": "zoom-in",
      w: "zoom-in",
      "-": "zoom-out",
      s: "zoom-out",
      ArrowLeft: "pan-left",
      a: "pan-left",
      ArrowRight: "pan-right",
      d: "pan-right",
      ArrowUp: "pan-up",
      ArrowDown: "pan-down",
      "]": "taller",
      "[": "flatter",
      0: "fit",
      Home: "fit",
      n: "next-failed",
      p: "last-failed",
      "<": "before",
      ">": "after",
      ",": "before",
      ".": "after",
      Enter: "zoom-selected",
      Escape: "clear",
    };
    this.canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
      event.preventDefault();
      this.act(keys[event.key]);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.tagName === "INPUT") return;
      event.preventDefault();
      byId("search").focus();
    });
  }

  // -- what happens around the picture ---------------------------------------------------------------------------------

  bindSurroundings() {
    new ResizeObserver(() => {
      if (byId("stage").clientWidth !== this.layout.width) this.fill();
    }).observe(byId("stage"));
    const recolor = () => {
      this.picture.recolor();
      this.picture.draw();
    };
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
    // Paper is light, whatever the screen is.
    window.addEventListener("beforeprint", () => {
      document.documentElement.dataset.print = "true";
      recolor();
    });
    window.addEventListener("afterprint", () => {
      delete document.documentElement.dataset.print;
      recolor();
    });
  }
}
