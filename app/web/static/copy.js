// Copies a new key to the clipboard, if the browser permits it: on localhost and over HTTPS.
const button = document.querySelector("#copy");
if (button && navigator.clipboard) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.querySelector("#new-key").textContent);
    button.textContent = button.dataset.copied;
  });
}
