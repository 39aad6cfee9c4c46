// Keeps the list, the clock and the delivery states fresh, and copies commands. Everything works without it, by reloading.
"use strict";

const FRESH = ["list", "clock", "delivery"];
const EVERY_MS = 3000;

function countOf(root) {
  return root.querySelectorAll("#list li").length;
}

function showCopyButtons(root) {
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
}

async function refresh() {
  if (document.hidden) return;
  let page;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // The system is stopped or restarting; the next round tries again.
  }
  const before = countOf(document);
  for (const id of FRESH) {
    const [old, fresh] = [document.getElementById(id), page.getElementById(id)];
    if (!old || !fresh) continue;
    showCopyButtons(fresh);
    if (old.innerHTML === fresh.innerHTML) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    old.replaceChildren(...fresh.childNodes);
    if (focused) old.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
  // The first message changes what stands beside the list.
  if (!document.querySelector(".nothing, article") && page.querySelector(".nothing")) {
    document.querySelector("main").append(page.querySelector(".nothing"));
  }
  const more = countOf(document) - before;
  if (more > 0) document.getElementById("news").textContent = more === 1 ? "1 new message" : `${more} new messages`;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

// Arrow keys walk along the list while a message in it has the focus.
document.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const link = document.activeElement?.closest("#list li a");
  if (!step || !link || event.altKey || event.ctrlKey || event.metaKey) return;
  const links = [...document.querySelectorAll("#list li a")];
  const next = links[links.indexOf(link) + step];
  if (next) {
    event.preventDefault();
    next.focus();
  }
});

document.addEventListener("visibilitychange", refresh);
showCopyButtons(document);
document.querySelector("#list [aria-current]")?.scrollIntoView({ block: "nearest" });
setInterval(refresh, EVERY_MS);
