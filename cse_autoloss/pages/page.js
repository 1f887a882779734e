document.addEventListener("click", event => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  const done = () => { button.textContent = "Copied"; setTimeout(() => button.textContent = "Copy", 1500); };
  const old = () => { const area = document.createElement("textarea"); area.value = text; document.body.append(area);
    area.select(); document.execCommand("copy"); area.remove(); done(); };
  navigator.clipboard ? navigator.clipboard.writeText(text).then(done, old) : old();
});
const show = () => { const to = document.getElementById(location.hash.slice(1));
  for (let at = to; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (to) to.scrollIntoView({block: "nearest"}); };
addEventListener("hashchange", show); show();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => one.open = true));
