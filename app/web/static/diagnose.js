// Sends dropped, pasted or chosen patches, two at a time, and inserts each answer.
import { showPatch } from "./picture.js";
import { addRow } from "./session.js";

const { root } = document.documentElement.dataset; // a proxy's prefix

const page = document.querySelector("#diagnose");
const form = document.querySelector("#patches");
const drop = document.querySelector("#drop");
const files = document.querySelector("#files");
const list = document.querySelector("#list");
const words = page.dataset;
const PARALLEL = 2;
const RETRIES = 20;

const waiting = [];
let running = 0;
let all = 0;
let done = 0;
let refused = 0;

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

function take(chosen) {
  if (!form.reportValidity()) return;
  const taken = [...chosen];
  const only = taken.length === 1;
  for (const file of taken) {
    const item = document.querySelector("#result").content.cloneNode(true).querySelector("details");
    item.querySelector(".name").textContent = file.name || words.pasted;
    item.patch = URL.createObjectURL(file);
    const thumb = item.querySelector(".thumb");
    thumb.addEventListener("error", () => thumb.classList.add("unseen"));
    thumb.src = item.patch;
    item.open = only;
    list.prepend(item);
    enqueue({ file, item, query: query() });
  }
  document.querySelector("#empty").hidden = list.childElementCount > 0;
  document.querySelector("#clear").hidden = list.childElementCount === 0;
}

function query() {
  const chosen = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...chosen]) if (!value) chosen.delete(name);
  return chosen;
}

function enqueue(job) {
  say(job.item, words.waiting);
  waiting.push(job);
  all += 1;
  count();
  next();
}

function next() {
  while (running < PARALLEL && waiting.length) {
    running += 1;
    ask(waiting.shift()).finally(() => {
      running -= 1;
      done += 1;
      count();
      next();
    });
  }
}

function count() {
  const progress = document.querySelector("#progress");
  progress.hidden = all < 2;
  progress.querySelector("progress").max = all;
  progress.querySelector("progress").value = done;
  const more = refused ? `, ${filled(words.refused, { refused })}` : "";
  progress.querySelector("#counted").textContent = filled(words.progress, { done, all }) + more;
}

// The server records names of files only if it says so.
function named(file) {
  const name = file.name.slice(-100).toWellFormed?.() ?? "";
  return "names" in words && name ? { "X-File-Name": encodeURIComponent(name) } : {};
}

async function ask(job) {
  const { file, item } = job;
  if (file.size > Number(words.maxBytes)) return refuse(job, filled(words.tooLarge, { size: file.size }), false);
  say(item, words.asking);
  for (let tries = 0; ; tries += 1) {
    let response;
    try {
      response = await fetch(`${root}/diagnose?${job.query}`, {
        method: "POST",
        headers: { "Content-Type": "application/octet-stream", "X-CSRF-Token": words.csrf, ...named(file) },
        body: file,
      });
    } catch {
      return refuse(job, words.unreachable, true);
    }
    const outcome = response.headers.get("X-Rosette-Outcome");
    if (response.status === 401) {
      refuse(job, words.ended, false);
      return location.assign(`${root}/login?ended=1`);
    }
    if (!outcome) return refuse(job, filled(words.unexpected, { status: response.status }), true);
    const wait = Number(response.headers.get("Retry-After"));
    const text = await response.text();
    if (outcome === "refused" && wait && tries < RETRIES) {
      await pause(wait);
      continue;
    }
    item.querySelector(".body").innerHTML = text;
    if (outcome === "refused") return refuse(job, null, wait > 0);
    return show(item);
  }
}

function show(item) {
  const answer = item.querySelector(".answer");
  showPatch(item, item.patch);
  addRow(item.querySelector(".name").textContent, answer.dataset);
  const outcome = item.querySelector(".outcome");
  outcome.replaceChildren(document.querySelector(`#decision-${answer.dataset.decision}`).content.cloneNode(true));
  if (answer.dataset.probability) {
    const number = document.createElement("span");
    number.className = "number";
    number.textContent = answer.dataset.probability;
    outcome.append(number);
  }
  const open = item.querySelector(".open");
  open.href = `${root}/cases/${answer.dataset.id}`;
  open.hidden = false;
  const button = item.querySelector(".print");
  button.hidden = false;
  button.addEventListener("click", () => print(item));
}

function refuse(job, text, again) {
  const { item } = job;
  refused += 1;
  item.classList.add("refused");
  say(item, words.notPatch);
  if (text !== null) {
    const said = document.createElement("p");
    said.textContent = text;
    const box = document.createElement("div");
    box.className = "refusal";
    box.setAttribute("role", "alert");
    box.append(said);
    item.querySelector(".body").replaceChildren(box);
  }
  item.open = true;
  const button = item.querySelector(".again");
  button.hidden = !again;
  button.onclick = () => {
    button.hidden = true;
    refused -= 1;
    all -= 1;
    done -= 1;
    item.classList.remove("refused");
    item.querySelector(".body").replaceChildren();
    enqueue(job);
  };
}

function say(item, text) {
  item.querySelector(".outcome").textContent = text;
}

function print(item) {
  const alone = (set) => {
    document.body.classList.toggle("alone", set);
    item.classList.toggle("printed", set);
  };
  alone(true);
  addEventListener("afterprint", () => alone(false), { once: true });
  window.print();
}

files.addEventListener("change", () => {
  take(files.files);
  files.value = "";
});
form.addEventListener("submit", (event) => event.preventDefault());

// A drop outside of the field must not open the file instead of the page.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
addEventListener("dragover", () => drop.classList.add("over"));
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
addEventListener("drop", (event) => {
  drop.classList.remove("over");
  if (event.dataTransfer?.files.length) take(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  const pasted = [...(event.clipboardData?.files ?? [])];
  if (pasted.length) take(pasted);
});
document.querySelector("#clear").addEventListener("click", (event) => {
  for (const item of [...list.children]) {
    if (waiting.some((job) => job.item === item) || !item.querySelector(".body").childElementCount) continue;
    URL.revokeObjectURL(item.patch);
    item.remove();
  }
  if (running || waiting.length) return;
  all = done = refused = 0;
  count();
  document.querySelector("#empty").hidden = false;
  event.target.hidden = true;
  files.focus();
});
