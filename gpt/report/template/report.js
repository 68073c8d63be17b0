// Draws the charts in the page's colours: those in view at once, a folded one when it is opened,
// and all of them again when the reader's colour scheme or a narrow screen's bound is crossed.
const specs = JSON.parse(document.getElementById("charts").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 40rem)");

function theme(width) {
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
      titlePadding: 8, labelOverlap: true, labelSeparation: 5,
    },
    axisX: { grid: false },
    axisY: { domain: false, ticks: false, labelPadding: 8 },
    legend: {
      ...text, orient: "top", direction: "horizontal", columns: Math.max(2, Math.floor(width / 105)),
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelLimit: 100,
      symbolStrokeWidth: 3, symbolOpacity: 1, offset: 8, titleOrient: "left",
    },
    mark: { color: color("series-1") },
    line: { strokeWidth: 2 },
    rule: { color: color("ink") },
    text: { color: color("ink"), fontSize: 12 },
    range: {
      category: [1, 2, 3, 4, 5, 6, 7, 8].map((i) => color(`series-${i}`)),
      // The end of the scale that is near the page's ground would not be seen on it.
      ordinal: { scheme: "viridis", extent: dark.matches ? [0.3, 1] : [0, 0.85] },
    },
  };
}

async function draw() {
  for (const place of document.querySelectorAll(".chart")) {
    place.view?.finalize();
    place.view = null;
    place.replaceChildren();
  }
  await drawShown();
}

async function drawShown() {
  for (const [name, spec] of Object.entries(specs)) {
    const place = document.getElementById(`chart-${name}`);
    if (place.view || place.closest("details:not([open])")) continue;
    const config = theme(place.clientWidth);
    const options = { actions: false, renderer: "svg", ast: true, config };
    place.view = (await vegaEmbed(place, spec, options)).view;
  }
}

// One after the other; `drawn` is a promise, for who wants to wait.
const then = (step) => { window.drawn = (window.drawn ?? Promise.resolve()).then(step); };
for (const bound of [dark, narrow]) bound.addEventListener("change", () => then(draw));
for (const fold of document.querySelectorAll("details")) {
  fold.addEventListener("toggle", () => then(drawShown));
}
then(draw);
