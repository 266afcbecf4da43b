// The lead's dashboard: numbers every few seconds, a button to drop a labeler, and the cord.

import { $, ask, cord, element, hide, say, show, showStop } from "/common.js";

const EVERY = 4000;
const NAME = "runner-labels-lead";
const percent = (value) => (value == null ? "–" : `${value.toFixed(1)}%`);
/** Two decimals, and no minus before nothing. */
const fixed = (value) => (Math.abs(value) < 0.005 ? 0 : value).toFixed(2);
const hoursOf = (hours) => (hours < 1.5 ? `${Math.max(Math.round(60 * hours), 1)} minutes` : `${hours.toFixed(1)} hours`);
const range = (low, high) => (low == null || high == null ? "" : `${low.toFixed(0)} to ${high.toFixed(0)}`);

function table(caption, heads, rows) {
  return element("table", {}, element("caption", { class: "unseen" }, caption),
    element("thead", {}, element("tr", {}, ...heads.map((h) => element("th", { scope: "col" }, h)))),
    element("tbody", {}, ...rows.map((cells) => element("tr", { class: cells.class || null },
      ...cells.map((cell, i) => element(i ? "td" : "th", i ? {} : { scope: "row" }, cell))))));
}

const share = (s) => (s.n ? element("span", {}, percent(s.percent), " ", element("small", {}, `(${range(s.low, s.high)}; n ${s.n})`)) : "–");

function batches(found, state) {
  const rows = found.batches.map(({ id, purpose, update, progress: p }) => [
    id, purpose, String(update), String(p.items),
    element("span", { class: "meter" }, element("progress", { max: Math.max(p.wanted, 1), value: p.have, "aria-label": `${id}: answers` }), ` ${p.have} of ${p.wanted}`),
    String(p.complete), String(p.skipped), String(p.labelers),
  ]);
  $("batches").replaceChildren(table("Progress of each batch", ["batch", "purpose", "update", "items", "answers", "complete", "skipped", "labelers"], rows));
  const [have, wanted] = found.batches.reduce(([h, w], b) => [h + b.progress.have, w + b.progress.wanted], [0, 0]);
  $("counts").textContent = `${have} of ${wanted} answers, checks included; ${found.at_work} at work`;
  const left = wanted - have;
  const rate = found.hours.slice(-2).reduce((a, b) => a + b, 0) / 2;
  const all = state === "done" ? "Every question has its answers, and the run is done." : "Every question has its answers: the run can go on (the same command again).";
  let text = left ? `${left} answers are wanted.` : all;
  if (left && rate) text += ` At the rate of the last two hours that takes ${hoursOf(left / rate)}.`;
  $("next").textContent = wanted ? text : "There are no batches yet; they appear here by themselves.";
}

function hours(counts) {
  const most = Math.max(...counts, 1), width = 720, height = 120;
  const bar = (count, i) => {
    const h = count ? Math.max((count / most) * (height - 40), 2) : 0;
    const x = (i * width) / counts.length;
    return element("g", {}, element("rect", { class: "bar-fill", x: x + 2, y: height - 18 - h, width: width / counts.length - 4, height: h },
      element("title", { svg: true }, `${counts.length - 1 - i} hours ago: ${count}`)),
      count ? element("text", { x: x + width / counts.length / 2, y: height - 22 - h, class: "tick middle" }, String(count)) : null);
  };
  $("hours").replaceChildren(element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Answers in each of the last ${counts.length} hours: ${counts.join(", ")}` },
    element("line", { class: "axis", x1: 0, y1: height - 18, x2: width, y2: height - 18 }), ...counts.map(bar),
    element("text", { x: 2, y: height - 4, class: "tick" }, `${counts.length - 1} hours ago`), element("text", { x: width - 2, y: height - 4, class: "tick end" }, "this hour")));
}

function agreement(q) {
  const row = (name, a) => (a ? [name, percent(a.percent), range(a.low, a.high), a.kappa == null ? "–" : a.kappa.toFixed(2), percent(a.chance), `${a.pairs} / ${a.items}`] : [name, "–", "", "", "", ""]);
  const on = q.labeler_labeler_on === "gold" ? " (on gold items)" : "";
  $("agreement").replaceChildren(table("Agreement", ["between", "equal", "95%", "kappa", "chance", "pairs / items"], [
    row(`labeler and labeler${on}`, q.labeler_labeler), row("labeler and authors (gold)", q.author_labeler), row("a labeler, asked again", q.self_agreement)]));
  const chance = q.places.length ? 100 / q.places.length : 0;
  $("places").replaceChildren(q.places.length ? table("Choices by place", ["place", "chosen", "without bias"], q.places.map((s, i) => [String(i + 1), share(s), percent(chance)])) : "Nothing was chosen yet.");
}

function labelers(rows) {
  const cells = rows.map((r) => Object.assign([
    r.labeler,
    element("button", { "aria-label": `${r.dropped ? "Restore" : "Drop"} ${r.labeler}`, onclick: () => decide(r.labeler, r.dropped ? "restore" : "drop") }, r.dropped ? "Restore" : "Drop"),
    element("span", { class: r.remarks.length ? "remarks" : "" }, r.dropped ? "dropped" : r.remarks.join("; ") || "–"),
    String(r.answers), String(r.skips), share(r.gold), share(r.others), share(r.repeats),
    element("span", {}, share(r.first_place), r.first_place.n ? element("small", {}, ` chance ${r.first_place_chance.toFixed(0)}%`) : null),
    r.seconds == null ? "–" : element("span", {}, `${r.seconds.toFixed(1)} s `, element("small", {}, `(${r.fast} fast, ${r.slow} slow)`)),
    String(r.longest_run),
  ], { class: r.dropped ? "dropped" : r.remarks.length ? "remark" : "" }));
  $("labelers").replaceChildren(rows.length ? table("Labelers", ["labeler", "decide", "remarks", "answers", "skips", "gold right", "agrees with others", "repeats equal", "first place", "time", "longest run"], cells) : "Nobody has answered yet.");
}

function decide(labeler, action) {
  const dialog = $("drop-dialog");
  $("drop-title").textContent = `${action === "drop" ? "Drop" : "Restore"} ${labeler}?`;
  $("drop-text").textContent = action === "drop" ? "Their answers stay on disk and do not count; their questions are asked again, and a run does not wait for that." : "Their answers count again.";
  $("drop-yes").textContent = action === "drop" ? "Drop" : "Restore";
  $("drop-reason").value = "";
  dialog.returnValue = "";
  dialog.onclose = async () => {
    if (dialog.returnValue !== "yes") return;
    try {
      await ask("/api/lead/labeler", { labeler, action, by: $("by").value.trim() || "lead", reason: $("drop-reason").value.trim() });
      say(`${labeler}: ${action === "drop" ? "dropped" : "restored"}.`);
      await refresh();
    } catch (e) { say(e.message); }
  };
  dialog.showModal();
}

function curve(title, points, at) {
  const width = 420, height = 170, left = 44, bottom = 20, top = 8;
  const drawn = points.filter((p) => p[0] != null && p[at] != null);
  if (drawn.length === 0) return element("figure", {}, element("figcaption", {}, title), element("p", { class: "quiet" }, "nothing yet"));
  const xs = drawn.map((p) => p[0]), ys = drawn.map((p) => p[at]);
  const [x1, y0, y1] = [Math.max(...xs, 1), Math.min(...ys), Math.max(...ys)];
  const x = (v) => left + (v / x1) * (width - left - 6), y = (v) => height - bottom - ((v - y0) / (y1 - y0 || 1)) * (height - bottom - top);
  const tick = (v) => element("text", { x: left - 4, y: y(v) + 4, class: "tick end" }, fixed(v));
  return element("figure", {}, element("figcaption", {}, `${title}: ${fixed(ys[ys.length - 1])} after ${xs[xs.length - 1]} episodes`),
    element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} against episodes, from ${fixed(ys[0])} to ${fixed(ys[ys.length - 1])}` },
      element("line", { class: "axis", x1: left, y1: height - bottom, x2: width, y2: height - bottom }),
      element("line", { class: "axis", x1: left, y1: top, x2: left, y2: height - bottom }),
      tick(y0), y1 === y0 ? null : tick(y1),
      element("polyline", { class: "curve", points: drawn.map((p) => `${x(p[0]).toFixed(1)},${y(p[at]).toFixed(1)}`).join(" ") }),
      element("text", { x: left, y: height - 5, class: "tick" }, "0"),
      element("text", { x: width - 2, y: height - 5, class: "tick end" }, `${x1} episodes`)));
}

function run(found) {
  show("run");
  const parts = Object.entries(found.runs).map(([name, r]) => {
    const samples = r.samples.map((s) => element("li", { class: "card" }, element("p", { class: "model-text quiet", dir: "auto" }, (s.query || "").trim()),
      element("p", { class: "model-text", dir: "auto" }, (s.response || "").trim()), element("small", {}, [["score", s.score], ["KL", s.kl]].filter(([, v]) => v != null).map(([n, v]) => `${n} ${fixed(v)}`).join(", "))));
    return element("section", { class: "card" }, element("h3", {}, name),
      element("div", { class: "figures" }, curve("score", r.curve, 1), curve("KL", r.curve, 2)),
      samples.length ? element("details", {}, element("summary", {}, "Latest samples"), element("ul", { class: "samples" }, ...samples)) : null);
  });
  const open = new Set([...$("curves").querySelectorAll("section")].filter((s) => s.querySelector("details[open]")).map((s) => s.querySelector("h3").textContent));
  $("curves").replaceChildren(element("p", { class: "quiet" }, `${found.dir}: ${found.state || "not started"}`), ...parts);
  parts.filter((p) => open.has(p.querySelector("h3").textContent)).forEach((p) => { const d = p.querySelector("details"); if (d) d.open = true; });
  showStop(found.stop);
}

function problems({ count, first }) {
  if (!count) { hide("problems"); return; }
  show("problems");
  const more = count > first.length ? [`and ${count - first.length} more`] : [];
  $("problem-list").replaceChildren(...[...first, ...more].map((text) => element("li", {}, text)));
}

let last = "";
async function refresh() {
  try {
    const found = await ask("/api/lead/overview");
    const watched = found.results ? await ask("/api/lead/run") : null;
    const text = JSON.stringify([found, watched?.state]);
    // A table that does not change keeps its focus and selection.
    if (text !== last) {
      const focused = document.activeElement?.closest("tr")?.querySelector("th")?.textContent;
      batches(found, watched?.state);
      hours(found.hours);
      agreement(found.quality);
      labelers(found.quality.labelers);
      problems(found.problems);
      if (focused) [...document.querySelectorAll("#labelers tr")].find((r) => r.querySelector("th")?.textContent === focused)?.querySelector("button")?.focus();
      last = text;
    }
    if (watched) run(watched);
    if ($("status").dataset.stays) say("");
  } catch (e) {
    say(`${e.message}; the numbers are old`, true);
  }
}

try { $("by").value = localStorage.getItem(NAME) || ""; } catch { /* A private window remembers nothing. */ }
$("by").addEventListener("change", () => { try { localStorage.setItem(NAME, $("by").value.trim()); } catch { /* as above */ } });
cord(() => $("by").value.trim() || "lead");
async function loop() { await refresh(); setTimeout(loop, EVERY); }
loop();
