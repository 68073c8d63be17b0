// Draws the charts in the page's colours, and again when the reader's colour scheme changes.
const specs = JSON.parse(document.getElementById("charts").textContent);
const scheme = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const text = { labelColor: color("muted"), titleColor: color("muted") };
  const font = style.getPropertyValue("--sans").trim();
  return {
    background: "transparent",
    font,
    view: { stroke: null },
    axis: {
      ...text, gridColor: color("line"), domainColor: color("line"), tickColor: color("line"),
      titleFontWeight: "normal", labelFontSize: 12, titleFontSize: 12, labelLimit: 150,
      titlePadding: 10, labelOverlap: true,
    },
    axisX: { grid: false },
    axisY: { domain: false, ticks: false, labelPadding: 8 },
    legend: {
      ...text, orient: "top", direction: "horizontal",
      columns: Math.max(2, Math.floor(Math.min(innerWidth, 928) / 160)),
      labelFontSize: 12, labelLimit: 220, symbolType: "stroke", symbolStrokeWidth: 2, symbolOpacity: 1,
      offset: 8,
    },
    mark: { color: color("series-1") },
    line: { strokeWidth: 2 },
    rule: { color: color("ink") },
    text: { color: color("ink"), fontSize: 12 },
    range: {
      category: [1, 2, 3, 4, 5, 6].map((i) => color(`series-${i}`)),
      ordinal: { scheme: scheme.matches ? "plasma" : "viridis" },
    },
  };
}

async function draw() {
  const options = { actions: false, renderer: "svg", ast: true, config: theme() };
  for (const [name, spec] of Object.entries(specs)) {
    const place = document.getElementById(`chart-${name}`);
    place.view?.finalize();
    place.view = (await vegaEmbed(place, spec, options)).view;
  }
}

const redraw = () => { window.drawn = draw(); }; // a promise, for who wants to wait
scheme.addEventListener("change", redraw);
redraw();
