// Lists the sections below the header, and marks tables and figures that are wider than the page.
"use strict";
(() => {
  const links = [...document.querySelectorAll("section[id] > h2")].map((title) => {
    const link = document.createElement("a");
    link.href = `#${title.parentElement.id}`;
    link.textContent = title.textContent;
    return link;
  });
  document.querySelector("nav").append(...links);

  const mark = (box) => {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("wide", wide && box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
    if (wide) box.tabIndex = 0; // so that the arrow keys scroll it
  };
  const observer = new ResizeObserver((entries) => entries.forEach((entry) => mark(entry.target.closest(".scroll"))));
  for (const box of document.querySelectorAll(".scroll")) {
    // Other figures fit any page.
    if (!box.querySelector("table") && !box.firstElementChild.style.minWidth) continue;
    const hint = document.createElement("p");
    hint.className = "hint";
    hint.textContent = "scroll for more \u2192";
    box.before(hint);
    box.addEventListener("scroll", () => mark(box), { passive: true });
    observer.observe(box);
    observer.observe(box.firstElementChild);
  }
})();
