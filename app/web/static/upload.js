// Uploads an artifact: shows the progress, then each step of its vetting.
import { send } from "./stream.js";

const form = document.querySelector("#upload");
const steps = document.querySelector("#steps");
const sending = document.querySelector("#sending");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const [file] = form.querySelector("#artifact").files;
  if (!file) {
    sending.textContent = form.dataset.missing;
    return;
  }
  const signature = form.querySelector("#signature").value.trim();
  send({
    path: "/models/upload",
    body: file,
    headers: {
      "Content-Type": "application/octet-stream",
      ...(signature && { "X-Rosette-Signature": signature }),
    },
    form,
    steps,
    sending,
    onSent: () => { sending.textContent = form.dataset.vetting; },
    onLine: (line) => steps.insertAdjacentHTML("beforeend", line),
  });
});
