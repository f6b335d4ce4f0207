// A new key to the clipboard, where browsers allow it: on this machine, and over HTTPS.
const button = document.querySelector("#copy");
if (button && navigator.clipboard) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.querySelector("#new-key").textContent);
    button.textContent = button.dataset.copied;
  });
}
