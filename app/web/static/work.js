// The worklist: times in the browser's zone, and keys.
for (const time of document.querySelectorAll("time.local")) {
  const [day, clock] = new Date(time.dateTime).toLocaleString("sv-SE").split(" ");
  time.textContent = `${day} ${clock}`;
}
for (const picture of document.querySelectorAll("img.thumb")) {
  const hide = () => picture.classList.add("unseen");
  picture.addEventListener("error", hide);
  if (picture.complete && !picture.naturalWidth && picture.loading !== "lazy") hide();
}

const SWITCH = "rosette.keys";
const help = document.querySelector("#keys-help");
const on = document.querySelector("#keys-on");
const button = document.querySelector("#help");
on.checked = localStorage.getItem(SWITCH) !== "off";
on.addEventListener("change", () => localStorage.setItem(SWITCH, on.checked ? "on" : "off"));
button.hidden = false;
button.addEventListener("click", () => help.showModal());

function move(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  const at = rows.indexOf(document.activeElement);
  const place = at < 0 && by < 0 ? 0 : Math.min(Math.max(at + by, 0), rows.length - 1);
  rows[place]?.focus();
}

addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=radio], [type=checkbox]), textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || help.open) return;
  if (event.key === "?") {
    event.preventDefault();
    help.showModal();
    return;
  }
  if (!on.checked) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (target) {
    event.preventDefault();
    target.click();
  } else if (event.key === "j" || event.key === "k") {
    event.preventDefault();
    move(event.key === "j" ? 1 : -1);
  }
});
