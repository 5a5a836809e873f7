// The faithfulness at each size: the curves that were measured, and a point that moves with the slider.

/** The evaluations of a file: by the time at which its scores were made, or all of them if there is one file. */
function curvesOf(dataset) {
  const own = DATA.evaluations.filter((one) => one.created && one.created === dataset.metadata.created);
  return own.length || DATASETS.length > 1 ? own : DATA.evaluations;
}

/** The points of a file's evaluations that were selected as the page selects now, by size. */
function fittingPoints(dataset) {
  const points = curvesOf(dataset)
    .filter((one) => one.method === null || one.method === state.method || dataset.kind === "circuit")
    .flatMap((one) => one.points)
    .filter((point) => point.signed === null || point.signed === state.signed);
  return d3.sort(points.map((point) => ({ ...point, at: dataset.kind === "circuit" ? point.n_edges : point.size })), (point) => point.at);
}

/** Faithfulness at a size: as measured, or between two sizes on a straight line over the logarithm; null outside. */
function faithfulnessAt(points, size) {
  const exact = points.find((point) => point.at === size);
  if (exact !== undefined) return { value: exact.faithfulness, interval: exact.interval, measured: true };
  const above = points.findIndex((point) => point.at > size);
  if (above < 1) return null;
  const [low, high] = [points[above - 1], points[above]];
  const log = (value) => Math.log(Math.max(value, 0.5));
  const part = (log(size) - log(low.at)) / (log(high.at) - log(low.at));
  return { value: low.faithfulness + part * (high.faithfulness - low.faithfulness), interval: null, measured: false };
}

function drawChart() {
  const holder = byId("chart");
  const curves = shownDatasets()
    .map((dataset) => ({ kind: state.view === "difference" ? `of-${dataset.letter}` : "", points: fittingPoints(dataset) }))
    .filter((one) => one.points.length);
  holder.replaceChildren();
  if (!DATA.evaluations.length) return;
  if (curves.length) drawCurves(holder, curves, largest(), state.size);
  else holder.append(element("p", { className: "hint" }, "The evaluation is of another selection, or of a selection by another sign."));
}

/** Draw curves over the logarithm of the size, and a point on each at the present size, if there is one. */
function drawCurves(holder, curves, most, size) {
  const [width, height] = [330, 142];
  const inner = { left: 34, right: 322, top: 10, bottom: 112 };
  const all = curves.flatMap((one) => one.points);
  const x = d3.scaleLog([1, Math.max(2, d3.max(all, (point) => point.at), most)], [inner.left, inner.right]).clamp(true);
  const values = all.flatMap((point) => [point.faithfulness, ...(point.interval || []), ...(point.random_band || [])]);
  const y = d3.scaleLinear([Math.min(0, d3.min(values)), Math.max(1, d3.max(values))], [inner.bottom, inner.top]);
  const chart = d3.select(holder).append("svg").attr("viewBox", `0 0 ${width} ${height}`).attr("role", "img")
    .attr("aria-label", `Faithfulness over the number of ${UNIT}s`);
  const grid = chart.append("g").attr("class", "grid");
  for (const tick of y.ticks(4)) {
    grid.append("line").attr("x1", inner.left).attr("x2", inner.right).attr("y1", y(tick)).attr("y2", y(tick)).classed("one", tick === 1);
    grid.append("text").attr("class", "y").attr("x", inner.left - 6).attr("y", y(tick)).attr("dy", "0.35em").text(d3.format(".2~f")(tick));
  }
  for (const tick of [1, 10, 100, 1000, 10000, 100000].filter((one) => one <= x.domain()[1])) {
    grid.append("text").attr("class", "x").attr("x", x(tick)).attr("y", inner.bottom + 14).text(d3.format(",")(tick));
  }
  const random = all.some((point) => point.random !== null) ? " (dashed: random circuits)" : "";
  grid.append("text").attr("class", "x name").attr("x", (inner.left + inner.right) / 2).attr("y", height - 4).text(`${UNIT}s selected${random}`);
  for (const one of curves) drawCurve(chart.append("g").attr("class", `series ${one.kind}`), one.points, x, y, size);
}

function drawCurve(parent, points, x, y, size) {
  const at = (point) => x(Math.max(point.at, 1));
  const random = points.filter((point) => point.random !== null);
  const known = points.filter((point) => point.interval !== null);
  if (random.length > 1) parent.append("path").attr("class", "random").attr("d", d3.line(at, (point) => y(point.random))(random));
  if (known.length > 1) {
    const band = d3.area(at, (point) => y(point.interval[0]), (point) => y(point.interval[1]));
    parent.append("path").attr("class", "band").attr("d", band(known));
  }
  parent.append("path").attr("class", "curve").attr("d", d3.line(at, (point) => y(point.faithfulness))(points));
  parent.selectAll("circle.measured").data(points).join("circle").attr("class", "measured").attr("r", 2)
    .attr("cx", at).attr("cy", (point) => y(point.faithfulness));
  if (size === null) return;
  const now = faithfulnessAt(points, size);
  const place = x(Math.max(1, size));
  parent.append("line").attr("class", "now").attr("x1", place).attr("x2", place).attr("y1", y.range()[0]).attr("y2", y.range()[1]);
  if (now !== null) parent.append("circle").attr("class", "now").attr("r", 4.5).attr("cx", place).attr("cy", y(now.value));
}

/** What the evaluations say of the present size, as a sentence; empty without one. */
function faithfulnessText() {
  const parts = shownDatasets().map((dataset) => {
    const found = faithfulnessAt(fittingPoints(dataset), state.size);
    if (found === null) return "";
    const range = found.interval ? ` (95 %: ${found.interval[0].toFixed(2)} to ${found.interval[1].toFixed(2)})` : "";
    return `${state.view === "difference" ? `${dataset.letter}: ` : ""}${found.value.toFixed(3)}${range}${found.measured ? "" : ", interpolated"}`;
  }).filter(Boolean);
  return parts.length ? `faithfulness ${parts.join("; ")}` : "";
}
