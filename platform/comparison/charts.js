// Draws each chart again when it comes into view: with tooltips, and obedient to what the reader has chosen.
const drawn = [];

function obey({ chart, rows }) {
  chart.signal("chosen", view.chosen).signal("hidden", [...view.hidden]);
  // A chart with a row an entry is as high as the rows that are left.
  if (rows) chart.height(rows.step * rows.entries.filter((entry) => !view.hidden.has(entry)).length);
  return chart.runAsync();
}

async function draw(place, spec) {
  // What follows must not jump while the chart is drawn anew.
  place.style.minHeight = `${place.offsetHeight}px`;
  const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const result = await window.vegaEmbed(place, spec, { actions: false, renderer: "svg", tooltip: { theme } });
  place.style.minHeight = "";
  result.view.addEventListener("click", (_, item) => {
    if (item?.datum?.entry) choose(item.datum.entry);
  });
  const item = { chart: result.view, rows: spec.usermeta };
  drawn.push(item);
  await obey(item);
  place.dataset.drawn = "";
}

async function unpack() {
  const bytes = Uint8Array.from(atob(document.getElementById("packed").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { library, charts } = await new Response(stream).json();
  const script = document.createElement("script");
  script.textContent = library;
  document.head.append(script);
  return charts;
}

watchers.push(() => drawn.forEach(obey));
unpack().then((charts) => {
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
        seen.unobserve(target);
        draw(target, charts[target.dataset.chart]);
      }
    },
    { rootMargin: "300px" },
  );
  all("[data-chart]").forEach((place) => seen.observe(place));
});
