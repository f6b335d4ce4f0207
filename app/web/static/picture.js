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

const chosen = document.querySelector("#picture");
chosen?.addEventListener("change", () => {
  const [file] = chosen.files;
  if (file) showPatch(document.querySelector(".answer"), URL.createObjectURL(file));
});
document.querySelector("#print")?.addEventListener("click", () => print());
