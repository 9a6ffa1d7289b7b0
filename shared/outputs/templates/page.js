"use strict";
// Filters the findings and opens them for paper. The page says all without it.
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const shown = document.getElementById("shown");
  const field = (name) => form.elements.namedItem(name);
  const lower = (node) => node.textContent.toLowerCase();

  const keys = Array.from(document.querySelectorAll("#keys > details"), (key) => {
    const head = lower(key.firstElementChild) + " " + lower(key.children[1]);
    const places = Array.from(key.querySelectorAll("summary > i"), (place) => place.textContent);
    const findings = Array.from(key.querySelectorAll("li"), (item) => ({
      item,
      severity: item.firstElementChild.className,
      control: item.querySelector("code").textContent,
      text: head + " " + lower(item),
    }));
    return { key, places, findings };
  });

  const counted = (count, noun) => `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
  const all = keys.reduce((sum, { findings }) => sum + findings.length, 0);

  const filter = () => {
    const severities = new Set(Array.from(form.querySelectorAll(":checked[name=severity]"), (box) => box.value));
    const control = field("control").value;
    const places = ["region", "account"].map((name) => field(name)?.value).filter(Boolean);
    const words = field("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    let ofKeys = 0;
    for (const { key, places: of, findings } of keys) {
      const isThere = places.every((place) => of.includes(place));
      let some = false;
      for (const { item, severity, control: its, text } of findings) {
        const fits =
          isThere &&
          severities.has(severity) &&
          (!control || control === its) &&
          words.every((word) => text.includes(word));
        if (item.hidden === fits) item.hidden = !fits;
        some ||= fits;
        count += fits;
      }
      if (key.hidden === some) key.hidden = !some;
      ofKeys += some;
    }
    const what = `${counted(count, "finding")} on ${counted(ofKeys, "key")}`;
    shown.textContent = count === all ? `${what}.` : `${what} of ${counted(all, "finding")}.`;
  };

  // The remediation stands beside its finding once somebody looks; in the file it stands once for all.
  const explain = (key) => {
    for (const link of key.querySelectorAll("li > a[href^='#r']")) {
      const text = document.createElement("p");
      text.className = "fix";
      text.textContent = document.getElementById(link.hash.slice(1)).textContent;
      link.replaceWith(text);
    }
  };
  document.getElementById("keys").addEventListener("toggle", ({ target }) => target.open && explain(target), true);

  const setOpen = (isOpen) => {
    for (const { key } of keys) if (!key.hidden) key.open = isOpen;
  };
  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 80);
  });
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  field("open").addEventListener("click", () => setOpen(true));
  field("close").addEventListener("click", () => setOpen(false));
  form.hidden = false;
  // A browser that comes back to the page keeps what was chosen.
  filter();
})();
