// The labelers' page: one question at a time; an answer is on the server's disk before the next one is shown.

import { $, ask, cord, element, hide, markdown, say, show } from "/common.js";

const NAME = "runner-labels-name";
const KEYS = "runner-labels-keys";
const WAIT = 3000;
const RETRY = 2000;

let labeler = "";
let item = null;
let state = "";
let steps = 0;
let busy = false;
let timer = 0;
let versions = {};
let unread = false;

const typing = () => (document.activeElement?.matches("input:not([type=checkbox]), textarea, select") ?? false) || $("stop-dialog").open;

function remembered(value) {
  try {
    if (value === undefined) return localStorage.getItem(NAME) || "";
    if (value) localStorage.setItem(NAME, value); else localStorage.removeItem(NAME);
  } catch { /* A private window remembers nothing. */ }
  return value || "";
}

function askName(name) {
  clearTimeout(timer);
  labeler = "";
  item = null;
  hide("work", "message", "who");
  show("enter");
  hide("like", "use-like");
  $("start").textContent = "Start";
  $("counts").textContent = $("all").textContent = "";
  $("name").value = name;
  $("name").focus();
}

async function enter(name, sure) {
  const found = await ask("/api/enter", { labeler: name });
  if (!found.known && found.like && !sure) {
    $("like").textContent = `There is no “${found.labeler}” yet, but there is “${found.like}”. Is that you?`;
    $("use-like").textContent = `I am ${found.like}`;
    $("use-like").onclick = () => start(found.like);
    $("start").textContent = `I am new: ${found.labeler}`;
    $("start").dataset.sure = found.labeler;
    show("like", "use-like");
    $("use-like").focus();
    return;
  }
  await start(found.labeler);
}

async function start(name) {
  labeler = remembered(name);
  $("who").textContent = labeler;
  $("who").setAttribute("aria-label", `${labeler}: change the name`);
  hide("enter");
  show("who");
  await next();
}

function message(title, text, undo) {
  hide("work", "enter");
  show("message");
  const changed = $("message-title").textContent !== title;
  $("message-title").textContent = title;
  $("message-text").textContent = text;
  $("message-undo").hidden = !undo;
  if (changed) $("message-title").focus();
}

async function next() {
  clearTimeout(timer);
  steps = 0;
  try {
    const reply = await ask(`/api/next?labeler=${encodeURIComponent(labeler)}`);
    if ($("status").dataset.stays) say("");
    await render(reply);
  } catch (e) {
    if (e.status === 400 || e.status === 401) { say(e.message); return; }
    say(`${e.message}; trying again`, true);
    timer = setTimeout(next, RETRY);
  }
}

async function render(reply) {
  const { answers, skips } = reply.you;
  $("counts").textContent = `${answers} answered${skips ? `, ${skips} skipped` : ""}`;
  $("undo").disabled = answers + skips <= steps;
  state = reply.state;
  item = reply.item || null;
  const undo = answers + skips > 0;
  if (state === "wait") {
    message("Nearly done", "Others have the last questions. This page looks again by itself.", undo);
    timer = setTimeout(next, WAIT);
    return;
  }
  if (state === "done") {
    message("Thank you, that is all", "There is nothing left for you to answer. New questions appear here by themselves.", undo);
    timer = setTimeout(next, 3 * WAIT);
    return;
  }
  if (state === "dropped") {
    message("Your part is over", "Your answers are not counted at the moment. Please talk to whoever asked you to label.", false);
    return;
  }
  hide("enter", "message", "skip-form");
  show("work");
  $("skip").setAttribute("aria-expanded", "false");
  // Tokens bring their own leading space.
  $("query").textContent = item.query.trim();
  $("candidates").replaceChildren(...item.candidates.map(candidate));
  $("note").value = "";
  review();
  window.scrollTo(0, 0);
  $("query-title").focus({ preventScroll: true });
  await instructions();
}

function candidate(text, place) {
  const chosen = item.answer && item.answer.place === place;
  const label = element("p", { class: "model-text", dir: "auto", id: `candidate-${place}` }, text.trim() || "(empty)");
  const button = element("button", {
    class: "choose",
    "aria-describedby": `candidate-${place}`,
    "aria-pressed": item.answer ? String(Boolean(chosen)) : null,
    onclick: () => answer({ place }),
  }, element("kbd", {}, String(place + 1)), chosen ? " Your answer" : " This one");
  return element("li", { class: chosen ? "card candidate chosen" : "card candidate" }, label, button);
}

function review() {
  $("review").hidden = state !== "review";
  if (state !== "review") return;
  const was = item.answer?.skipped ? "you skipped it" : `you chose ${item.answer.place + 1}`;
  $("review-text").textContent = `An earlier question: ${was}. Choose again to change that.`;
}

async function instructions() {
  const version = `${item.batch}/${item.instructions}`;
  const known = versions[item.batch];
  try {
    const found = await ask(`/api/instructions?batch=${encodeURIComponent(item.batch)}`);
    const { have, wanted } = found.progress;
    $("progress").max = Math.max(wanted, 1);
    $("progress").value = have;
    $("progress").setAttribute("aria-valuetext", `${have} of ${wanted} answers`);
    $("all").textContent = `${have} of ${wanted} by all`;
    if (known === version) return;
    versions = { [item.batch]: version };
    $("instructions").hidden = !found.text.trim();
    $("instructions-text").replaceChildren(...markdown(found.text));
    // Open for whoever has not seen them.
    const key = `runner-labels-instructions-${found.version}`;
    let seen = false;
    try { seen = localStorage.getItem(key) === labeler; localStorage.setItem(key, labeler); } catch { /* as above */ }
    $("instructions").open = unread = !seen;
  } catch { /* The next question asks again. */ }
}

async function answer(what) {
  if (busy || !item) return;
  busy = true;
  document.body.classList.add("busy");
  const note = $("note").value.trim();
  const body = { labeler, item: item.id, revision: item.revision, ...what, ...(note ? { note } : {}) };
  try {
    for (;;) {
      try {
        const reply = await ask("/api/answer", body);
        steps = 0;
        if (unread) $("instructions").open = unread = false;
        await render(reply);
        say(what.skip === undefined ? `Saved: ${what.place + 1}.` : "Skipped.");
        return;
      } catch (e) {
        // What the server does not have is sent again; it counts once.
        if (e.status !== 0 && e.status < 500) { say(e.message); await next(); return; }
        say(`Not saved yet: ${e.message}. Trying again; please leave this page open.`, true);
        await new Promise((done) => setTimeout(done, RETRY));
      }
    }
  } finally {
    busy = false;
    document.body.classList.remove("busy");
  }
}

async function undo() {
  if (busy || $("undo").disabled) return;
  clearTimeout(timer);
  try {
    steps += 1;
    await render(await ask(`/api/previous?labeler=${encodeURIComponent(labeler)}&steps=${steps}`));
    say("An earlier question.");
  } catch (e) {
    say(e.message);
    await next();
  }
}

function toggleSkip() {
  const open = $("skip-form").hidden;
  $("skip-form").hidden = !open;
  $("skip").setAttribute("aria-expanded", String(open));
  (open ? $("reason") : $("skip")).focus();
}

$("enter-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim().replace(/\s+/g, " ");
  enter(name, $("start").dataset.sure === name).catch((e) => say(e.message));
});
$("name").addEventListener("input", () => { hide("like", "use-like"); $("start").textContent = "Start"; delete $("start").dataset.sure; });
$("who").addEventListener("click", () => { remembered(""); askName(labeler); });
$("undo").addEventListener("click", undo);
$("message-undo").addEventListener("click", () => { $("undo").disabled = false; undo(); });
$("back").addEventListener("click", next);
$("skip").addEventListener("click", toggleSkip);
$("skip-cancel").addEventListener("click", toggleSkip);
$("skip-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const reason = $("reason").value || $("note").value.trim() || "no reason given";
  answer({ skip: reason });
});
// Whoever speaks to the computer, or touches keys by chance, turns single keys off.
try { $("keys").checked = localStorage.getItem(KEYS) !== "off"; } catch { /* as above */ }
$("keys").addEventListener("change", () => { try { localStorage.setItem(KEYS, $("keys").checked ? "on" : "off"); } catch { /* as above */ } });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("skip-form").hidden && !$("stop-dialog").open) { toggleSkip(); event.preventDefault(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing() || $("work").hidden || !item) return;
  if (!$("keys").checked && event.key !== "Escape") return;
  const place = Number(event.key) - 1;
  if (Number.isInteger(place) && place >= 0 && place < item.candidates.length) answer({ place });
  else if (event.key === "u") undo();
  else if (event.key === "s") toggleSkip();
  else if (event.key === "Escape" && state === "review") next();
  else return;
  event.preventDefault();
});

cord(() => labeler);
const name = remembered();
if (name) start(name); else askName("");
