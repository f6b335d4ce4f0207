// Sends a body with its progress, and hands over each line of the response as soon as it is there.
const { root } = document.documentElement.dataset; // a proxy's prefix

// form: carries the texts and the session's token; steps: the list that is filled; sending: says how it goes.
export function send({ path, body, headers, form, steps, sending, onSent, onLine, onEnd }) {
  const request = new XMLHttpRequest(); // fetch has no upload progress
  const button = form.querySelector("button");
  let shown = 0;
  const show = () => {
    const lines = request.responseText.split("\n");
    for (const line of lines.slice(shown, -1)) onLine(line);
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
    sending.textContent = form.dataset.sending.replace("{percent}", Math.floor((100 * loaded) / total));
  });
  request.upload.addEventListener("load", onSent);
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
    onEnd?.();
  });
  steps.replaceChildren();
  steps.hidden = false;
  button.disabled = true;
  request.open("POST", `${root}${path}`);
  request.setRequestHeader("X-CSRF-Token", form.dataset.csrf);
  for (const [name, value] of Object.entries(headers ?? {})) request.setRequestHeader(name, value);
  request.send(body);
}
