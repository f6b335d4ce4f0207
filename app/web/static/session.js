// The answers of this session as a table: it grows with each answer, sorts, and is saved or printed.
const { root } = document.documentElement.dataset;
const session = document.querySelector("#session");
const body = session.querySelector("tbody");
const tally = document.querySelector("#tally");
const NAMES = ["when", "file", "decision", "probability", "deviation", "case", "slide"];

const cell = (row, name) => row.querySelector(`[data-name="${name}"]`);

export function addRow(file, answer) {
  const row = document.querySelector("#row").content.cloneNode(true).querySelector("tr");
  const values = { ...answer, file };
  row.dataset.id = answer.id;
  for (const name of NAMES) {
    const place = cell(row, name);
    place.dataset.value = values[name];
    place.classList.toggle("blank", !values[name]);
    if (name === "decision") {
      const badge = document.querySelector(`#decision-${answer.decision}`).content.cloneNode(true);
      place.firstElementChild.replaceChildren(badge);
    } else if (name === "when") {
      const link = place.querySelector("a");
      link.href = `${root}/cases/${answer.id}`;
      const time = document.createElement("time");
      time.dateTime = values.when;
      time.textContent = values.when.slice(0, 16).replace("T", " ");
      link.replaceChildren(time);
    } else if (values[name]) {
      place.textContent = values[name];
    }
  }
  body.prepend(row);
  session.hidden = false;
  count();
}

function count() {
  const counts = new Map();
  for (const row of body.rows) {
    const word = cell(row, "decision").textContent.trim();
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const told = [...counts].map(([word, number]) => tally.dataset.tally.replace("{count}", number).replace("{word}", word));
  tally.textContent = told.join(", ");
}

function sort(button) {
  const head = button.closest("th");
  const falling = head.getAttribute("aria-sort") === "ascending";
  for (const other of session.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const { column } = button.dataset;
  const numbers = column === "probability" || column === "deviation";
  const value = (row) => (numbers ? Number(cell(row, column).dataset.value || -1) : cell(row, column).dataset.value);
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    return (x < y ? -1 : x > y ? 1 : 0) * (falling ? -1 : 1);
  });
  body.append(...rows);
}

// A cell that a spreadsheet would take for a formula begins with an apostrophe.
const quoted = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;

function save() {
  const lines = [["id", ...NAMES].join(",")];
  for (const row of body.rows) {
    lines.push([row.dataset.id, ...NAMES.map((name) => cell(row, name).dataset.value)].map(quoted).join(","));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
  link.download = "rosette-session.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function print() {
  const alone = (set) => document.body.classList.toggle("table-alone", set);
  alone(true);
  addEventListener("afterprint", () => alone(false), { once: true });
  window.print();
}

for (const button of session.querySelectorAll(".sort")) button.addEventListener("click", () => sort(button));
document.querySelector("#save").addEventListener("click", save);
document.querySelector("#print-table").addEventListener("click", print);
count();
