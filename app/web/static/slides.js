// The list of slides: how far running ones are. The page is loaded again when one has ended.
const { root } = document.documentElement.dataset; // a proxy's prefix
const EVERY_MS = 2000;
const shown = [...document.querySelectorAll(".running")];

async function look(place) {
  const { run, count } = place.dataset;
  const response = await fetch(`${root}/ui/slides/runs/${run}/progress`);
  if (!response.ok) return response.status === 401;
  const { state, done, total } = await response.json();
  if (state !== "queued" && state !== "running") return true;
  if (total) {
    place.querySelector("progress").max = total;
    place.querySelector("progress").value = done;
    const number = (n) => n.toLocaleString("en-US");
    place.querySelector(".count").textContent = count.replace("{done}", number(done)).replace("{total}", number(total));
  }
  return false;
}

async function poll() {
  const ended = await Promise.all(shown.map((place) => look(place).catch(() => false)));
  if (ended.some(Boolean)) location.reload();
  else setTimeout(poll, EVERY_MS);
}

// Slides that nobody has opened yet: the page is loaded again when one more is known.
const opening = document.querySelectorAll(".opening").length;

async function waitForSlides() {
  try {
    const text = await (await fetch(location.href)).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    if (page.querySelectorAll(".opening").length !== opening) return location.reload();
  } catch {
    // The next look may succeed.
  }
  setTimeout(waitForSlides, EVERY_MS);
}

if (shown.length) poll();
if (opening) waitForSlides();
