// A person's verdict on a region, stored beside the machine's.
export class Judging {
  constructor(list, run, csrf, announced) {
    Object.assign(this, { words: list.dataset, run, csrf, announced });
    list.addEventListener("click", (event) => {
      const button = event.target.closest("[data-verdict]");
      if (button) this.judge(button.closest(".regions > li"), button.dataset.verdict);
    });
  }

  async judge(item, verdict) {
    const { number } = item.querySelector(".region").dataset;
    let stored;
    try {
      const response = await fetch(`${this.run}/regions/${number}/review`, {
        method: "POST",
        body: new URLSearchParams({ csrf: this.csrf, verdict }),
      });
      if (!response.ok) throw new Error(response.statusText);
      stored = await response.json();
    } catch {
      this.announced.textContent = this.words.notJudged;
      this.show(item, "said bad", this.words.notJudged);
      return;
    }
    const label = item.querySelector(`[data-verdict=${verdict}]`).textContent;
    this.show(item, `verdict ${verdict}`, label, stored.reviewer);
    this.announced.textContent = this.words.judged.replace("{verdict}", label).replace("{n}", number);
  }

  show(item, kind, text, reviewer = "") {
    const entry = document.createElement("li");
    for (const [name, said] of [[kind, text], ["soft", reviewer]]) {
      const part = document.createElement("span");
      [part.className, part.textContent] = [name, said];
      entry.append(part, " ");
    }
    item.querySelector(".judged").append(entry);
  }
}
