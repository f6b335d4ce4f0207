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
  const button = event.target.closest("button.smooth");
  if (!button) return;
  const smooth = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", smooth);
  button.closest(".patch").classList.toggle("smoothed", smooth);
});

const chosen = document.querySelector("#picture");
chosen?.addEventListener("change", () => {
  const [file] = chosen.files;
  if (file) showPatch(document.querySelector(".answer"), URL.createObjectURL(file));
});
document.querySelector("#print")?.addEventListener("click", () => print());
