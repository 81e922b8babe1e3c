// Draws a figure when it scrolls into view, in the colours of the current theme.
"use strict";
(() => {
  // Width of an A4 page without its margins, in pixels.
  const paper = 680;
  const figures = [...document.querySelectorAll("figure")];
  const drawn = new Set();

  // Replaces the names of CSS variables in a figure by their values.
  function colored(value, style) {
    if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map((one) => colored(one, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, colored(one, style)]));
  }

  // Plotly is parsed when the first figure is drawn, not when the page opens.
  function start() {
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
  }

  function draw(figure, width) {
    if (!window.Plotly) start();
    const style = getComputedStyle(document.documentElement);
    const content = colored(JSON.parse(figure.querySelector("script").textContent), style);
    const [ink, line] = [style.getPropertyValue("--ink").trim(), style.getPropertyValue("--line").trim()];
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
    const plot = figure.querySelector(".plot");
    const layout = {
      width, height: plot.clientHeight,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: "system-ui, sans-serif", size: width ? 9 : 12 },
      margin: { l: 10, r: 10, t: 12, b: 10 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      hovermode: "closest",
      ...content.layout,
    };
    for (const name of ["xaxis", "yaxis"]) layout[name] = { ...axis, ...content.layout[name] };
    Plotly.react(plot, content.data, layout, { responsive: width === undefined, displayModeBar: false });
    drawn.add(figure);
  }

  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      observer.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "200px" });
  figures.forEach((figure) => observer.observe(figure));

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((one) => draw(one)));
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("paper");
    for (const figure of figures) {
      const wide = figure.parentElement.classList.contains("one");
      draw(figure, wide ? paper : paper / 2 - 12);
    }
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("paper");
    drawn.forEach((figure) => draw(figure));
  });
})();
