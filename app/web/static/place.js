// The patch of a chosen place: its picture, and the server's answer to it.
import { showPatch } from "./picture.js";

const { root } = document.documentElement.dataset; // a proxy's prefix
const words = document.querySelector("#run").dataset;
const panel = document.querySelector("#cell");
const RETRIES = 20;

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
let asked = 0;

export async function ask(place, told, judged) {
  asked += 1;
  const turn = asked;
  const answer = panel.querySelector("#cell-answer");
  const picture = panel.querySelector("#cell-patch");
  const open = panel.querySelector("#cell-open");
  panel.querySelector("#cell-map").textContent = told;
  answer.replaceChildren();
  picture.hidden = open.hidden = true;
  panel.hidden = false;
  panel.scrollIntoView({ block: innerWidth < 1000 ? "start" : "nearest" });
  panel.focus({ preventScroll: true });
  if (!judged) return;
  answer.textContent = words.asker ? words.asking : "";
  const patch = await patchOf(place);
  if (turn !== asked) return;
  if (!patch) {
    answer.textContent = words.noPatch;
    return;
  }
  const address = URL.createObjectURL(patch);
  picture.src = address;
  picture.hidden = false;
  if (!words.asker) return;
  const { text, shown } = await answerTo(patch, () => turn === asked);
  if (turn !== asked) return;
  if (!shown) {
    say(answer, text);
    return;
  }
  answer.innerHTML = text;
  const found = answer.querySelector(".answer");
  if (!found) return;
  picture.hidden = true;
  showPatch(answer, address);
  open.href = `${root}/cases/${found.dataset.id}`;
  open.hidden = false;
}

async function patchOf({ column, row }) {
  try {
    const response = await fetch(`${root}/ui/slides/runs/${words.run}/cells/${column}/${row}.png`);
    return response.ok ? await response.blob() : null;
  } catch {
    return null;
  }
}

// text: the answer's HTML if it is shown, else why there is none.
async function answerTo(patch, wanted) {
  for (let tries = 0; ; tries += 1) {
    let response;
    try {
      response = await fetch(`${root}/diagnose?${new URLSearchParams({ rotations: "full", slide_id: words.slide })}`, {
        method: "POST",
        headers: { "Content-Type": "application/octet-stream", "X-CSRF-Token": words.csrf },
        body: patch,
      });
    } catch {
      return { text: words.unreachable, shown: false };
    }
    if (response.status === 401) location.assign(`${root}/login?ended=1`);
    const outcome = response.headers.get("X-Rosette-Outcome");
    if (!outcome) return { text: words.unexpected.replace("{status}", response.status), shown: false };
    const wait = Number(response.headers.get("Retry-After"));
    const text = await response.text();
    if (outcome !== "refused" || !wait || tries >= RETRIES || !wanted()) return { text, shown: true };
    await pause(wait);
  }
}

function say(place, text) {
  const box = document.createElement("p");
  box.className = "refusal";
  box.setAttribute("role", "alert");
  box.textContent = text;
  place.replaceChildren(box);
}
