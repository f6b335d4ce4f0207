// Runs an acceptance test: counts the chosen patches, sends them, and shows the progress and the outcome.
import { send } from "./stream.js";

const form = document.querySelector("#test");
if (form) {
  const steps = document.querySelector("#steps");
  const doing = document.querySelector("#doing");
  const chosen = document.querySelector("#chosen");
  const bar = document.querySelector("#bar");
  const count = (name) => form.elements[name].files.length;
  const { least, most, each } = form.dataset;

  form.addEventListener("change", () => {
    const [tumour, normal, files] = ["tumour", "normal", "file"].map(count);
    const total = tumour + normal + files;
    const fits = total >= least && total <= most && (files > 0 || Math.min(tumour, normal) >= each);
    const said = files
      ? form.dataset.files.replace("{files}", files)
      : form.dataset.classes.replace("{tumour}", tumour).replace("{normal}", normal);
    chosen.textContent = total ? `${said}${fits ? "" : ` ${form.dataset.bounds}`}` : "";
  });

  const show = (line) => {
    const box = document.createElement("template");
    box.innerHTML = line;
    const item = box.content.firstElementChild;
    if (!item) return;
    if (item.dataset.done === undefined) {
      steps.append(item);
      return;
    }
    bar.hidden = false;
    bar.max = item.dataset.all;
    bar.value = item.dataset.done;
    doing.textContent = item.textContent;
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!["tumour", "normal", "file"].some(count)) {
      doing.textContent = form.dataset.missing;
      return;
    }
    const body = new FormData(form);
    if (!body.get("mpp").trim()) body.delete("mpp");
    send({
      path: form.dataset.path,
      body,
      form,
      steps,
      sending: doing,
      onSent: () => { doing.textContent = form.dataset.running; },
      onLine: show,
      onEnd: () => { bar.hidden = true; },
    });
  });
}
