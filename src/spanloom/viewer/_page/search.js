// Finding bars by what is known of them.
"use strict";

const MOST_MATCHES = 40;

class Search {
  constructor(controls) {
    this.controls = controls;
    this.model = controls.model;
    const search = byId("search");
    search.addEventListener("input", () => this.find(search.value));
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.controls.selectNext(event.shiftKey ? -1 : 1);
      if (event.key === "Escape") {
        search.value = "";
        this.find("");
        this.controls.canvas.focus();
      }
    });
  }

  find(query) {
    const isFinding = query.trim() !== "";
    const found = isFinding ? this.model.barsWhere(this.model.matcher(query)) : [];
    this.controls.matches = isFinding ? new Set(found) : null;
    byId("found").textContent = isFinding ? `${formatCount(found.length)} found` : "";
    this.listMatches(found);
    this.controls.repaint();
    this.controls.redraw();
  }

  listMatches(found) {
    const list = byId("matches");
    list.hidden = found.length === 0;
    list.replaceChildren(
      ...found
        .slice(0, MOST_MATCHES)
        .map((bar) =>
          element("li", {}, [
            element(
              "button",
              {type: "button", onclick: () => this.controls.select(bar, {zooms: true})},
              `${this.model.name(bar)}, ${this.model.status(bar)}, ${this.model.format(this.model.bars.length[bar])}`,
            ),
          ]),
        ),
    );
    if (found.length > MOST_MATCHES)
      list.append(element("li", {}, `and ${formatCount(found.length - MOST_MATCHES)} more`));
  }
}
