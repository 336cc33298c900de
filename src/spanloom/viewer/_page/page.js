// The page: reads its data, and shows it.
"use strict";

function explain(model) {
  const what = model.jobs
    ? "Each row is a worker slot, each bar a job; time runs to the right."
    : "Each bar is an event, what it encloses is below it; time runs to the right.";
  const inside = model.insets.rows
    ? " Zoomed in, strips inside of a bar are attempts and steps; faded parts are back-offs and waits for a limiter."
    : "";
  byId("explanation").textContent =
    `${what} Above: how many ran at once, and a tick for each that did not end well.${inside}`;
  byId("canvas").setAttribute(
    "aria-label",
    `Slots over time. ${verdict(model)} At most ${model.concurrency.peak} ran at once. The same in tables below.`,
  );
}

async function main() {
  const description = JSON.parse(byId("description").textContent);
  const packed = byId("columns");
  const tables = decodeTables(description.tables, await inflate(bytesOfBase64(packed.textContent)));
  packed.remove();
  const model = new Model(description, tables);
  showHeader(model);
  explain(model);
  const controls = new Controls(model);
  const select = (bar) => {
    controls.select(bar, {zooms: true});
    byId("stage").scrollIntoView({block: "nearest"});
  };
  showOpen(model, select);
  showTables(model, select);
  showWords(model);
  document.documentElement.dataset.ready = performance.now().toFixed(0);
  return controls;
}

const page =
  typeof document === "undefined"
    ? null
    : main().catch((error) => {
        byId("verdict").textContent =
          `This page could not be drawn: ${error.message}. It needs a browser of 2023 or later.`;
        throw error;
      });
