// Wheel, mouse and fingers on the picture, and the tooltip.
"use strict";

class Pointer {
  constructor(controls) {
    const {canvas, layout, picture, model} = controls;
    Object.assign(this, {controls, canvas, layout, picture, model});
    /** Where the pointers that are down are, by their ids. */
    this.places = new Map();
    canvas.addEventListener("wheel", (event) => this.onWheel(event), {passive: false});
    canvas.addEventListener("pointerdown", (event) => this.onDown(event));
    canvas.addEventListener("pointermove", (event) => this.onMove(event));
    canvas.addEventListener("pointerup", (event) => this.onUp(event));
    canvas.addEventListener("pointercancel", (event) => this.onCancel(event));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("dblclick", () => this.controls.act("zoom-selected"));
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return {x: event.clientX - box.left, y: event.clientY - box.top};
  }

  onWheel(event) {
    const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? this.layout.height : 1;
    const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
    // Zoomed out all the way there is nothing left to zoom out of: then the wheel scrolls the page, as elsewhere.
    if (!isSideways && event.deltaY > 0 && this.layout.isWhole && !event.ctrlKey) return;
    event.preventDefault();
    if (isSideways) this.layout.pan((event.deltaX || event.deltaY) * unit);
    else if (event.altKey) this.layout.scaleRows(2 ** ((-event.deltaY * unit) / 300), this.place(event).y);
    else this.layout.zoom(2 ** ((-event.deltaY * unit) / (event.ctrlKey ? 100 : 250)), this.place(event).x);
    this.hover(null);
    this.controls.redraw();
  }

  onDown(event) {
    if (event.button !== 0) return;
    const place = this.place(event);
    this.canvas.setPointerCapture(event.pointerId);
    this.places.set(event.pointerId, place);
    this.pressed = {...place, moved: false, isRange: place.y < TOP && event.pointerType === "mouse"};
    this.pinch = null;
  }

  onMove(event) {
    const place = this.place(event);
    const before = this.places.get(event.pointerId);
    if (!before) {
      this.hover(place);
      return;
    }
    this.places.set(event.pointerId, place);
    if (Math.hypot(place.x - this.pressed.x, place.y - this.pressed.y) > 4) this.pressed.moved = true;
    if (this.places.size === 2) this.onPinch();
    else if (this.pressed.isRange) this.picture.range = [this.pressed.x, place.x];
    else if (this.pressed.moved) this.layout.pan(before.x - place.x, before.y - place.y);
    this.hover(null);
    this.controls.redraw();
  }

  /** Two fingers zoom in time and move in both directions; one finger leaves up and down to the page. */
  onPinch() {
    const [one, other] = this.places.values();
    const distance = Math.max(10, Math.abs(one.x - other.x) + Math.abs(one.y - other.y));
    const x = (one.x + other.x) / 2;
    const y = (one.y + other.y) / 2;
    if (this.pinch) {
      this.layout.pan(this.pinch.x - x, this.pinch.y - y);
      this.layout.zoom(distance / this.pinch.distance, x);
    }
    this.pinch = {distance, x, y};
  }

  onUp(event) {
    if (!this.places.delete(event.pointerId)) return;
    const {range} = this.picture;
    this.picture.range = null;
    if (range && this.pressed.moved) {
      const [from, to] = range.map((x) => this.layout.time(x)).sort((a, b) => a - b);
      this.layout.show(from, to);
    } else if (!this.pressed.moved && this.places.size === 0 && !this.pinch) {
      const place = this.place(event);
      this.controls.select(this.picture.at(place.x, place.y).bar);
    }
    this.controls.redraw();
  }

  onCancel(event) {
    this.places.delete(event.pointerId);
    this.picture.range = null;
    this.controls.redraw();
  }

  hover(place) {
    const tip = byId("tip");
    const found = place ? this.picture.at(place.x, place.y) : {bar: -1, count: 0};
    const text = place && place.y < TOP ? this.timeText(place) : found.bar < 0 ? [] : this.tipText(found);
    if (this.picture.hovered !== found.bar) {
      this.picture.hovered = found.bar;
      this.controls.redraw();
    }
    tip.hidden = text.length === 0;
    if (tip.hidden) return;
    tip.replaceChildren(...text.map((line) => element("p", {}, line)));
    const {width, height} = this.layout;
    tip.style.left = `${Math.max(0, Math.min(place.x + 14, width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${place.y + 18 + tip.offsetHeight > height ? Math.max(0, place.y - tip.offsetHeight - 10) : place.y + 18}px`;
  }

  timeText(place) {
    const {layout, model} = this;
    const [from, to] = [layout.time(place.x), layout.time(place.x + 1)];
    return [`at ${model.format(from)}`, `${formatCount(model.concurrency.most(from, to))} running at once`];
  }

  tipText({bar, count, looks}) {
    const {model} = this;
    const lines = factsOf(model, bar)
      .filter(([, value]) => value !== "" && value !== null)
      .slice(0, 6);
    const text = [model.name(bar), ...lines.map(([term, value]) => `${term} ${value}`)];
    if (count > 1) {
      const parts = Array.from(looks, ([look, many]) => `${formatCount(many)} ${LOOKS[look]}`).join(", ");
      text.push(`${formatCount(count)} share this place (${parts}): zoom in`);
    }
    return text;
  }
}
