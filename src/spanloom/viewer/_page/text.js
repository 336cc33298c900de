// Everything of the page that is text. Text is only ever set by `textContent`: whatever it is, it stays text.
"use strict";

/** Make an element: its text or children last, attributes before. */
function element(tag, attributes = {}, content = []) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (name === "className") made.className = value;
    else made.setAttribute(name, value);
  }
  if (Array.isArray(content)) made.append(...content);
  else made.textContent = content;
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

function definitions(pairs) {
  return pairs
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([term, value]) => element("div", {}, [element("dt", {}, term), element("dd", {}, String(value))]));
}

/** A table: columns are {title, isText}, rows are lists of cells, a cell is a text or an element. */
function makeTable(caption, columns, rows) {
  const cell = (tag, value, column, extra = {}) => {
    const attributes = {...extra, ...(column.isText ? {className: "text"} : {})};
    return element(tag, attributes, value instanceof Node ? [value] : String(value));
  };
  const head = element(
    "tr",
    {},
    columns.map((column) => cell("th", column.title, column, {scope: "col"})),
  );
  const body = rows.map((row) =>
    element(
      "tr",
      {},
      row.map((value, at) =>
        at === 0 ? cell("th", value, columns[at], {scope: "row"}) : cell("td", value, columns[at]),
      ),
    ),
  );
  return element("div", {className: "scroll", tabindex: "0", role: "region", "aria-label": caption}, [
    element("table", {}, [
      element("caption", {className: "hidden"}, caption),
      element("thead", {}, [head]),
      element("tbody", {}, body),
    ]),
  ]);
}

function showHeader(model) {
  const {run, left_out: leftOut} = model.description;
  document.title = `${run.name}: spanloom run`;
  byId("title").textContent = run.name;
  byId("verdict").textContent = verdict(model);
  const started = new Date(run.started_wall_ns / 1e6);
  byId("facts").append(
    ...definitions([
      ["started", Number.isNaN(started.getTime()) ? "" : started.toLocaleString()],
      ["lasted", model.format(model.end)],
      ["exit code", run.exit_code],
      ["command", model.description.command],
      ["in", run.cwd],
      ["on", `${run.host}, process ${run.pid}`],
      ["with", `Python ${run.python}, spanloom ${run.version}`],
      ["run", run.run_id],
    ]),
  );
  const losses = [];
  if (run.thinned)
    losses.push(`${formatCount(run.thinned)} events that went well were removed to keep the file within its limit.`);
  if (run.dropped)
    losses.push(`${formatCount(run.dropped)} of ${formatCount(run.produced)} events are not in the record.`);
  if (leftOut.payloads)
    losses.push(
      `The payloads of ${formatCount(leftOut.payloads)} events are left out of this page for its size.`,
    );
  if (leftOut.errors)
    losses.push(`Of ${formatCount(leftOut.errors)} errors, only the type is in this page, for its size.`);
  byId("losses").textContent = losses.join(" ");
  byId("losses").hidden = losses.length === 0;
  byId("footer").textContent =
    `Made by spanloom ${run.version}. Everything shown is inside of this file; it makes no request.`;
}

/** The run in one sentence. */
function verdict(model) {
  const {run} = model.description;
  const what = model.jobs ? ["job", "jobs"] : ["event", "events"];
  const total = model.jobs || model.bars.rows;
  const parts = countStatuses(model)
    .filter(([status, count]) => count && status !== "ok")
    .map(([status, count]) => `${formatCount(count)} ${STATUS_WORDS[status] ?? status}`);
  const ended =
    {
      ended: "",
      running: "Still running when this page was made. ",
      interrupted: `The process died after ${model.format(model.end)}. `,
    }[run.state] ?? "";
  const ok = countStatuses(model).find(([status]) => status === "ok")[1];
  return `${ended}${formatCount(total)} ${what[total === 1 ? 0 : 1]}: ${[`${formatCount(ok)} ok`, ...parts].join(", ")}.`;
}

const STATUS_WORDS = {
  ok: "ok",
  error: "failed",
  timeout: "timed out",
  cancelled: "cancelled",
  skipped: "skipped",
  interrupted: "interrupted: running when the process died",
  open: "still running",
  other: "of an unknown status",
};

function countStatuses(model) {
  const counts = new Array(model.description.statuses.length).fill(0);
  for (let bar = 0; bar < model.bars.rows; bar++) if (model.isMain(bar)) counts[model.bars.status[bar]]++;
  return model.description.statuses.map((status, number) => [status, counts[number]]);
}

/** What is known of a bar, as pairs of term and value. */
function factsOf(model, bar) {
  const {bars} = model;
  const isOpen = ["open", "interrupted"].includes(model.status(bar));
  const error = model.error(bars.error[bar]);
  return [
    ["ended", STATUS_WORDS[model.status(bar)] ?? model.status(bar)],
    ["error", error && `${error.type}: ${error.message}`],
    [isOpen ? "ran for" : "took", model.format(bars.length[bar])],
    ["queued for", model.isJob[bar] ? model.format(model.queued(bar)) : ""],
    ["held the loop for", bars.busy[bar] ? model.format(bars.busy[bar] - 1) : ""],
    ["attempts", attemptsOf(model, bar)],
    ["back-offs", model.format(idleTime(model, bar, "backoff")).replace(/^0 ns$/, "")],
    ["waited for limiters", model.format(idleTime(model, bar, "slot_wait")).replace(/^0 ns$/, "")],
    ["started at", model.format(bars.start[bar])],
    ["slot", model.isJob[bar] ? bars.slot[bar] + 1 : ""],
    ["in batch", model.isJob[bar] ? model.texts[model.batches.name[bars.batch[bar]]] : ""],
    ["type", model.isJob[bar] ? "" : model.texts[bars.kind[bar]]],
  ];
}

/** How many attempts there were, or are so far: a job says so only at its end. Empty if it has none that are events. */
function attemptsOf(model, bar) {
  let attempts = model.bars.attempts[bar];
  for (const inset of model.insetsIn(bar))
    if (model.texts[model.insets.kind[inset]] === "attempt" && model.insets.depth[inset] === 0)
      attempts = Math.max(attempts, model.insets.attempt[inset]);
  return attempts || "";
}

function idleTime(model, bar, type) {
  let sum = 0;
  for (const inset of model.insetsIn(bar))
    if (model.texts[model.insets.kind[inset]] === type) sum += model.insets.length[inset];
  return sum;
}

const MOST_INSETS = 100;

/** What happened inside of a bar, as a table. */
function insetsTable(model, bar) {
  const insets = Array.from(model.insetsIn(bar));
  const {start, length, kind, name, status, attempt, depth, error} = model.insets;
  const rows = insets.slice(0, MOST_INSETS).map((inset) => {
    const failure = model.error(error[inset]);
    const type = model.texts[kind[inset]];
    const label = model.texts[name[inset]];
    const title = attempt[inset] ? `${type} ${attempt[inset]}` : type === label ? type : `${type} ${label}`;
    return [
      `${"· ".repeat(Math.min(depth[inset], 8))}${title}`,
      model.format(start[inset] - model.bars.start[bar]),
      model.format(length[inset]),
      model.description.statuses[status[inset]],
      failure ? `${failure.type}: ${failure.message}` : "",
      model.description.inset_payloads[inset] ?? "",
    ];
  });
  if (insets.length > MOST_INSETS)
    rows.push([`and ${formatCount(insets.length - MOST_INSETS)} more`, "", "", "", "", ""]);
  return makeTable(
    "What happened inside",
    [
      {title: "inside", isText: true},
      {title: "after"},
      {title: "took"},
      {title: "ended"},
      {title: "error", isText: true},
      {title: "payload", isText: true},
    ],
    rows,
  );
}

/** Fill the panel of the selected bar. */
function showSelected(model, bar, actions) {
  const panel = byId("selected");
  panel.hidden = bar < 0;
  panel.replaceChildren();
  if (bar < 0) return;
  const error = model.error(model.bars.error[bar]);
  const payload = model.description.bar_payloads[bar];
  panel.append(element("h3", {}, model.name(bar)));
  panel.append(element("dl", {className: "facts"}, definitions(factsOf(model, bar))));
  if (error && error.frames.length) panel.append(element("pre", {}, error.frames.join("\n")));
  if (payload) panel.append(element("pre", {}, payload));
  if (model.insetsIn(bar).length) panel.append(insetsTable(model, bar));
  const buttons = Object.entries(actions).map(([label, onclick]) =>
    element("button", {type: "button", onclick}, label),
  );
  panel.append(element("p", {className: "group"}, buttons));
}

const MOST_OPEN = 50;

/** What had not ended when the run was last seen, the oldest first, and what it was at. */
function showOpen(model, select) {
  const open = model.barsWhere(
    (bar) => model.isMain(bar) && ["open", "interrupted"].includes(model.status(bar)),
  );
  const {unwritten} = model.description;
  if (!open.length && !unwritten) return;
  const title =
    model.description.run.state === "interrupted" ? "Interrupted when the process died" : "Still running";
  const rows = open
    .slice(0, MOST_OPEN)
    .map((bar) => [
      element("button", {type: "button", onclick: () => select(bar)}, model.name(bar)),
      model.format(model.bars.length[bar]),
      attemptsOf(model, bar),
      innermost(model, bar),
    ]);
  if (open.length > MOST_OPEN) rows.push([`and ${formatCount(open.length - MOST_OPEN)} more`, "", "", ""]);
  const table = makeTable(
    title,
    [{title: "job", isText: true}, {title: "for"}, {title: "attempts"}, {title: "was at", isText: true}],
    rows,
  );
  byId("open").append(
    element("section", {"aria-labelledby": "open-heading"}, [
      element("h2", {id: "open-heading"}, `${title}: ${formatCount(open.length)}`),
      ...(open.length ? [table] : []),
      ...(unwritten ? [element("p", {className: "note"}, unwritten)] : []),
    ]),
  );
}

function innermost(model, bar) {
  const {kind, name, status, attempt, length} = model.insets;
  const open = Array.from(model.insetsIn(bar)).filter((inset) =>
    ["open", "interrupted"].includes(model.description.statuses[status[inset]]),
  );
  return open
    .map((inset) => {
      const type = model.texts[kind[inset]];
      const label = attempt[inset] ? attempt[inset] : model.texts[name[inset]];
      return `${type}${label === type ? "" : ` ${label}`} for ${model.format(length[inset])}`;
    })
    .join(", in it ");
}

/** The picture for those who cannot see it: what ran when. */
function showWords(model) {
  const groups = model.groups.filter(({bands}) => bands[0] !== 0);
  const words = byId("words");
  if (groups.length) {
    words.append(
      makeTable(
        "Batches",
        [
          {title: "batch", isText: true},
          {title: "jobs"},
          {title: "not ok"},
          {title: "first start"},
          {title: "last end"},
        ],
        groups.slice(0, 100).map((group) => groupWords(model, group)),
      ),
    );
  }
  words.append(element("p", {className: "note"}, "Over time, in twenty equal parts:"), timeTable(model));
}

function groupWords(model, group) {
  const {blocks} = model;
  let first = Infinity;
  let last = 0;
  let jobs = 0;
  let bad = 0;
  for (const number of group.bands) {
    const band = model.bands[number];
    for (let at = blocks.begins[band.first]; at < blocks.begins[band.first + band.rows]; at++) {
      first = Math.min(first, blocks.start[at]);
      last = Math.max(last, blocks.end[at]);
      jobs++;
      if (model.looks[blocks.order[at]] >= FIRST_BAD) bad++;
    }
  }
  return [
    model.groupName(group),
    formatCount(jobs),
    formatCount(bad),
    model.format(first),
    model.format(last),
  ];
}

function timeTable(model) {
  const parts = 20;
  const rows = Array.from({length: parts}, () => ({started: 0, ended: 0, bad: 0}));
  const part = (time) => rows[Math.min(parts - 1, Math.floor((time / model.end) * parts))];
  for (let bar = 0; bar < model.bars.rows; bar++) {
    if (!model.isMain(bar)) continue;
    part(model.bars.start[bar]).started++;
    part(model.barEnd[bar]).ended++;
    if (model.looks[bar] >= FIRST_BAD) part(model.barEnd[bar]).bad++;
  }
  return makeTable(
    "What ran when",
    [
      {title: "from"},
      {title: "started"},
      {title: "ended"},
      {title: "of them not ok"},
      {title: "running, mean"},
      {title: "most at once"},
    ],
    rows.map(({started, ended, bad}, at) => {
      const [from, to] = [(model.end * at) / parts, (model.end * (at + 1)) / parts];
      return [
        model.format(from),
        formatCount(started),
        formatCount(ended),
        formatCount(bad),
        model.concurrency.mean(from, to).toFixed(1),
        formatCount(model.concurrency.most(from, to)),
      ];
    }),
  );
}

/** The tables that were made with the page: statistics, errors, the slowest jobs. */
function showTables(model, select) {
  const holder = byId("tables");
  for (const table of model.description.sections ?? []) {
    const heading = element("h2", {id: table.id}, table.title);
    const rows = table.rows.map((row) =>
      row.map((cell) => (typeof cell === "object" && cell !== null ? jump(cell, select) : cell)),
    );
    const parts = [heading, element("p", {className: "note"}, table.note)];
    if (rows.length) parts.push(makeTable(table.title, table.columns, rows));
    holder.append(element("section", {"aria-labelledby": table.id}, parts));
  }
}

function jump({text, bar}, select) {
  return bar === null ? text : element("button", {type: "button", onclick: () => select(bar)}, text);
}
