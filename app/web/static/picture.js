import { hashOfPixels } from "./pixels.js";

// Shows the patch's file from this browser below the disc and the square.
export function showPatch(place, address) {
  const picture = place.querySelector("[data-patch]");
  const unseen = place.querySelector(".patch .unseen");
  picture.addEventListener("load", () => {
    picture.hidden = false;
    unseen.hidden = true;
  });
  picture.addEventListener("error", () => {
    picture.hidden = true;
    unseen.hidden = false;
  });
  picture.src = address;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-looks]");
  if (!button) return;
  const pressed = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", pressed);
  button.closest(".patch").classList.toggle(button.dataset.looks, pressed);
});

// A stored patch: its address is in the page.
const stored = document.querySelector("[data-patch][src]");
if (stored?.complete && !stored.naturalWidth) showPatch(document.querySelector(".answer"), stored.src);
else stored?.addEventListener("error", () => showPatch(document.querySelector(".answer"), stored.src), { once: true });

// On a recorded answer's page only its own patch is shown, and the form says which picture was.
const chosen = document.querySelector("#picture");
chosen?.addEventListener("change", async () => {
  const [file] = chosen.files;
  if (!file) return;
  const answer = document.querySelector(".answer");
  const pixels = await hashOfPixels(file).catch(() => "");
  const wrong = pixels !== "" && pixels !== answer.dataset.pixels;
  const refusal = document.querySelector("#wrong-picture");
  refusal.hidden = !wrong;
  refusal.textContent = wrong ? refusal.dataset.text.replace("{name}", file.name).replace("{found}", pixels) : "";
  for (const field of document.querySelectorAll("[data-picture]")) field.value = pixels;
  for (const button of document.querySelectorAll("[data-judges]")) button.disabled = wrong;
  if (wrong) answer.querySelector("[data-patch]").hidden = true;
  else showPatch(answer, URL.createObjectURL(file));
});
document.querySelector("#print")?.addEventListener("click", () => print());
