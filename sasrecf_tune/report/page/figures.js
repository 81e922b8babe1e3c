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

  // The bytes of a text in base 85 with "." for "<": see packing.py.
  function decoded(text) {
    const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;.=>?@^_`{|}~";
    const value = new Uint8Array(128);
    [...digits].forEach((digit, index) => { value[digit.charCodeAt(0)] = index; });
    const bytes = new DataView(new ArrayBuffer(text.length / 5 * 4));
    for (let from = 0, to = 0; from < text.length; from += 5, to += 4) {
      let number = 0;
      for (let at = from; at < from + 5; at++) number = number * 85 + value[text.charCodeAt(at)];
      bytes.setUint32(to, number);
    }
    return new Uint8Array(bytes.buffer);
  }

  async function unpack(script) {
    const bytes = decoded(script.textContent).subarray(0, Number(script.dataset.size));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  let code = "";
  const contents = new Map();
  const unpacked = Promise.all([
    ...figures.map(async (one) => { contents.set(one, JSON.parse(await unpack(one.querySelector("script")))); }),
    unpack(document.getElementById("plotly")).then((text) => { code = text; }),
  ]);
  unpacked.catch(() => {
    const text = "Figures need a browser of 2023 or later.";
    document.querySelectorAll(".plot").forEach((plot) => { plot.textContent = text; plot.style.height = "auto"; });
  });

  // Plotly is parsed when the first figure is drawn, not when the page opens.
  function start() {
    const script = document.createElement("script");
    script.textContent = code;
    document.head.append(script);
  }

  function draw(figure, width) {
    if (!window.Plotly) start();
    const style = getComputedStyle(document.documentElement);
    const content = colored(contents.get(figure), style);
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
      unpacked.then(() => draw(entry.target), () => {});
    }
  }, { rootMargin: "200px" });
  figures.forEach((figure) => observer.observe(figure));

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((one) => draw(one)));
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("paper");
    for (const figure of code ? figures : []) {
      const wide = figure.parentElement.classList.contains("one");
      draw(figure, wide ? paper : paper / 2 - 12);
    }
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("paper");
    drawn.forEach((figure) => draw(figure));
  });
})();
