// What both pages share: requests, elements, Markdown as elements, and the cord.

export const $ = (id) => document.getElementById(id);

const SVG = new Set(["svg", "polyline", "line", "rect", "text", "g"]);

/** An element with attributes, listeners (onclick: f) and children; text is always text. */
export function element(name, attributes = {}, ...children) {
  const made = SVG.has(name) || attributes.svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "svg") continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export function show(...ids) { ids.forEach((id) => { $(id).hidden = false; }); }
export function hide(...ids) { ids.forEach((id) => { $(id).hidden = true; }); }

let fading = 0;

/** Says something at the foot of the page, to screen readers too: for some seconds, or until something else is said. */
export function say(text, stays = false) {
  clearTimeout(fading);
  $("status").textContent = text;
  if (stays) { $("status").dataset.stays = "1"; return; }
  delete $("status").dataset.stays;
  fading = setTimeout(() => { $("status").textContent = ""; }, 7000);
}

/** JSON from the server; throws an Error with `status` (0: no connection) and a text for people. */
export async function ask(path, body) {
  // The header says that a page of this server asks, and not an image of another site.
  const options = body === undefined ? { headers: { "X-Runner": "1" } } : {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Runner": "1" },
    body: JSON.stringify(body),
  };
  let reply;
  try {
    reply = await fetch(path, { ...options, signal: AbortSignal.timeout(20000) });
  } catch {
    throw Object.assign(new Error("the server does not answer"), { status: 0 });
  }
  const value = await reply.json().catch(() => ({}));
  if (!reply.ok) throw Object.assign(new Error(value.error || `the server says ${reply.status}`), { status: reply.status });
  return value;
}

/** Bold, emphasis and code of one line; links become their text and address, for nothing here leaves this page. */
function inline(text) {
  const parts = text.split(/(\*\*[^*]+\*\*|\*[^*\s][^*]*\*|`[^`]+`|\[[^\]]+\]\([^)\s]+\))/);
  return parts.filter((part) => part).map((part) => {
    if (part.startsWith("**") && part.length > 4) return element("strong", {}, part.slice(2, -2));
    if (part.startsWith("*") && part.length > 2) return element("em", {}, part.slice(1, -1));
    if (part.startsWith("`") && part.length > 2) return element("code", {}, part.slice(1, -1));
    const link = part.match(/^\[([^\]]+)\]\(([^)\s]+)\)$/);
    return link ? document.createTextNode(`${link[1]} (${link[2]})`) : document.createTextNode(part);
  });
}

/** Headings, lists, quotes, code blocks and paragraphs of Markdown, as elements: nothing in it is HTML. */
export function markdown(text) {
  const out = [];
  const lines = text.replace(/\r/g, "").split("\n");
  for (let i = 0; i < lines.length;) {
    const line = lines[i];
    const take = (pattern) => {
      const taken = [];
      while (i < lines.length && pattern.test(lines[i])) taken.push(lines[i++]);
      return taken;
    };
    const heading = line.match(/^(#{1,6})\s+(.*)$/);
    if (!line.trim()) { i += 1; }
    else if (line.startsWith("```")) {
      i += 1;
      const code = take(/^(?!```)/);
      i += 1;
      out.push(element("pre", {}, element("code", {}, code.join("\n"))));
    } else if (heading) {
      out.push(element(`h${Math.min(heading[1].length + 2, 6)}`, {}, ...inline(heading[2])));
      i += 1;
    } else if (/^\s*[-*+]\s+/.test(line)) {
      out.push(element("ul", {}, ...take(/^\s*[-*+]\s+/).map((l) => element("li", {}, ...inline(l.replace(/^\s*[-*+]\s+/, ""))))));
    } else if (/^\s*\d+[.)]\s+/.test(line)) {
      out.push(element("ol", {}, ...take(/^\s*\d+[.)]\s+/).map((l) => element("li", {}, ...inline(l.replace(/^\s*\d+[.)]\s+/, ""))))));
    } else if (line.startsWith(">")) {
      out.push(element("blockquote", {}, ...inline(take(/^>/).map((l) => l.replace(/^>\s?/, "")).join(" "))));
    } else {
      const words = take(/^(?!\s*$|#{1,6}\s|```|>|\s*[-*+]\s|\s*\d+[.)]\s)/);
      if (words.length === 0) words.push(lines[i++]);
      out.push(element("p", {}, ...inline(words.join(" "))));
    }
  }
  return out;
}

/** Shows whether the run was stopped. */
export function showStop(stop) {
  $("stopped").hidden = !stop;
  if (stop) {
    const why = stop.reason ? `: ${stop.reason}` : "";
    $("stopped").textContent = `Training was asked to stop by ${stop.by}${why}. It goes on after “runner stop DIR --undo” and the run’s own command.`;
    $("stop").disabled = true;
  } else {
    $("stop").disabled = false;
  }
}

/** The cord: `by()` gives the name of whoever pulls it. */
export async function cord(by) {
  const look = async () => {
    try {
      const { known, stop } = await ask("/api/stop");
      $("stop").hidden = !known;
      showStop(stop);
    } catch { /* The page's own requests say so. */ }
  };
  $("stop").addEventListener("click", () => { $("stop-reason").value = ""; $("stop-dialog").showModal(); });
  $("stop-dialog").addEventListener("close", async () => {
    if ($("stop-dialog").returnValue !== "stop") return;
    $("stop-dialog").returnValue = "";
    try {
      const { stop } = await ask("/api/stop", { by: by() || "somebody", reason: $("stop-reason").value.trim() });
      showStop(stop);
      say("The run stops at its next step.");
    } catch (e) {
      say(`Not stopped: ${e.message}`);
    }
  });
  await look();
  setInterval(look, 15000);
}
