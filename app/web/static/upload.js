// Uploads an artifact: shows the progress, then each step of its vetting.
const { root } = document.documentElement.dataset; // a proxy's prefix
const form = document.querySelector("#upload");
const steps = document.querySelector("#steps");
const sending = document.querySelector("#sending");
const button = form.querySelector("button");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const [file] = form.querySelector("#artifact").files;
  if (!file) {
    sending.textContent = form.dataset.missing;
    return;
  }
  // fetch has no upload progress.
  const request = new XMLHttpRequest();
  let shown = 0;
  const show = () => {
    const lines = request.responseText.split("\n");
    for (const line of lines.slice(shown, -1)) steps.insertAdjacentHTML("beforeend", line);
    shown = Math.max(shown, lines.length - 1);
  };
  const broken = () => {
    const item = document.createElement("li");
    item.className = "end refusal";
    item.setAttribute("role", "alert");
    item.textContent = form.dataset.broken;
    steps.append(item);
  };
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    const percent = Math.floor((100 * loaded) / total);
    sending.textContent = form.dataset.sending.replace("{percent}", percent);
  });
  request.upload.addEventListener("load", () => {
    sending.textContent = form.dataset.vetting;
  });
  request.addEventListener("progress", () => request.status === 200 && show());
  request.addEventListener("load", () => {
    if (request.status === 200) show();
    if (request.status === 401) location.assign(`${root}/login?ended=1`);
    else if (!steps.querySelector("[data-outcome]")) broken();
  });
  request.addEventListener("error", broken);
  request.addEventListener("loadend", () => {
    sending.textContent = "";
    button.disabled = false;
  });
  steps.replaceChildren();
  steps.hidden = false;
  button.disabled = true;
  request.open("POST", `${root}/models/upload`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.setRequestHeader("X-CSRF-Token", form.dataset.csrf);
  const signature = form.querySelector("#signature").value.trim();
  if (signature) request.setRequestHeader("X-Rosette-Signature", signature);
  request.send(file);
});
