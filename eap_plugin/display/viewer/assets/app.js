// The start of the page, and what happens when a person does something.

let waiting = 0;
let partly = true;

/** What changes neither the edges that are seen nor where nodes are. */
const LIGHT = ["focus", "path", "marked"];

/** Change what is chosen, and draw it before the next frame. */
function change(what, refit = false) {
  Object.assign(state, what);
  if (scene === null) return;
  state.size = Math.min(state.size, largest());
  keep();
  partly &&= Object.keys(what).every((name) => LIGHT.includes(name));
  if (refit) {
    draw();
    fit(250);
  } else if (!waiting) {
    waiting = requestAnimationFrame(() => (partly ? drawLight() : draw()));
  }
}

function drawLight() {
  waiting = 0;
  hideTip();
  emphasise();
  drawPanels();
}

function draw() {
  cancelAnimationFrame(waiting);
  waiting = 0;
  partly = true;
  const held = document.activeElement;
  hideTip();
  applyTheme();
  render();
  drawControls();
  drawCounts();
  drawLegend();
  drawChart();
  drawPanels();
  if (held !== null && held.id && !held.isConnected && byId(held.id)) byId(held.id).focus();
}

function drawPanels() {
  drawNodePanel();
  drawTable();
  drawGroups();
  drawAbout();
}

function focusOn(key) {
  picking = false;
  change({ focus: key, path: null });
  if (key !== null && byId("panel-node").hidden && byId("panel-table").hidden) openTab("node");
}

function pathTo(key) {
  picking = false;
  if (state.focus === null || state.focus === key) focusOn(key);
  else {
    change({ path: [state.focus, key] });
    openTab("node");
  }
}

function resize(size) {
  change({ size: Math.max(0, Math.min(largest(), Math.round(size) || 0)) });
}

/** Go up or down by some of the slider's thousand steps, and by one edge at least. */
function step(turn, steps) {
  const size = sliderSize(Math.max(0, Math.min(1000, sliderValue(state.size) + turn * steps)));
  resize(turn > 0 ? Math.max(state.size + 1, size) : Math.min(state.size - 1, size));
}

const TABS = ["node", "table", "groups", "about"];

function openTab(name) {
  for (const one of TABS) {
    byId(`panel-${one}`).hidden = one !== name;
    byId(`tab-${one}`).setAttribute("aria-selected", String(one === name));
    byId(`tab-${one}`).tabIndex = one === name ? 0 : -1;
  }
  if (scene !== null) drawPanels();
  else drawAbout();
}

function applyTheme() {
  const dark = state.theme === "dark" || (state.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

function pointerOnNode(event) {
  const node = event.target.closest === undefined ? null : event.target.closest("g.node");
  return node === null ? undefined : d3.select(node).datum();
}

function onPointerMove(event) {
  if (event.buttons) return;
  const [x, y] = d3.pointer(event, stage);
  const place = pointerOnNode(event);
  if (place !== undefined) {
    const { into, out } = edgesOf(scene, place.key);
    hoverEdges([...into, ...out]);
    showTip(nodeTip(place), x, y);
    return;
  }
  const one = edgeAt(scene.drawn, ...transform.invert([x, y]), 5 / transform.k);
  if (one === null) hideTip();
  else {
    hoverEdges(one.indices);
    showTip(edgeTip(one), x, y);
  }
}

function onClick(event) {
  const place = pointerOnNode(event);
  if (place === undefined) {
    if (state.focus !== null && event.target === svg.node()) change({ focus: null, path: null });
    return;
  }
  standing = place.key;
  if (event.ctrlKey || event.metaKey) toggleMark(place.key);
  else if (event.shiftKey || picking) pathTo(place.key);
  else focusOn(place.key);
}

/** Drag nodes to pin them; what moves less than a few pixels is a click. */
function enableDrag() {
  const drag = d3.drag().container(() => world.node()).clickDistance(4).filter((event) => !event.button && !event.ctrlKey && !event.metaKey)
    .subject((event) => pointerOnNode(event.sourceEvent))
    .on("drag", (event) => { if (Math.hypot(event.x - event.subject.x, event.y - event.subject.y) > 3 || event.subject.moving) { event.subject.moving = true; moveNode(event.subject.key, event.x, event.y); } })
    .on("end", (event) => { event.subject.moving = false; });
  svg.call(drag);
}

function listen() {
  byId("slider").addEventListener("input", (event) => resize(sliderSize(Number(event.target.value))));
  byId("slider").addEventListener("keydown", (event) => {
    const turn = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (turn === undefined) return;
    event.preventDefault();
    step(turn, 6);
  });
  byId("number").addEventListener("change", (event) => resize(Number(event.target.value)));
  byId("method").addEventListener("change", (event) => change({ method: event.target.value }));
  byId("connected").addEventListener("change", (event) => change({ connected: event.target.checked }));
  for (const one of byId("signed").children) one.addEventListener("click", () => change({ signed: one.dataset.signed === "1" }));
  byId("search").addEventListener("input", (event) => search(event.target.value));
  byId("search").addEventListener("keydown", (event) => { if (event.key === "Enter") goTo(event.target.value); });
  byId("zoom-in").addEventListener("click", () => svg.transition().duration(150).call(zoom.scaleBy, 1.3));
  byId("zoom-out").addEventListener("click", () => svg.transition().duration(150).call(zoom.scaleBy, 1 / 1.3));
  byId("zoom-fit").addEventListener("click", () => fit(250));
  stage.addEventListener("pointermove", onPointerMove);
  stage.addEventListener("pointerleave", hideTip);
  stage.addEventListener("click", onClick);
  stage.addEventListener("keydown", (event) => {
    const place = pointerOnNode(event);
    if (place !== undefined) onNodeKey(event, place);
  });
  stage.addEventListener("focusin", (event) => {
    const place = pointerOnNode(event);
    if (place === undefined || !event.target.matches(":focus-visible")) return;
    standing = place.key;
    const [x, y] = transform.apply([place.x + place.w / 2, place.y]);
    hoverEdges(Object.values(edgesOf(scene, place.key)).flat());
    showTip(nodeTip(place), x, y);
  });
  document.addEventListener("keydown", onPageKey);
  byId("save-svg").addEventListener("click", () => save(new Blob([svgText()], { type: "image/svg+xml" }), ".svg"));
  byId("save-png").addEventListener("click", () => png((blob) => save(blob, ".png")));
  byId("save-json").addEventListener("click", () => save(new Blob([`${JSON.stringify(seen(), null, 1)}\n`], { type: "application/json" }), ".json"));
  byId("save-copy").addEventListener("click", () => save(new Blob([copyText()], { type: "text/html" }), ".html"));
}

function listenEverywhere() {
  byId("theme").addEventListener("click", () => {
    change({ theme: document.documentElement.dataset.theme === "dark" ? "light" : "dark" });
    applyTheme();
    requestPaint();
  });
  byId("help").addEventListener("click", openHelp);
  byId("fullscreen").addEventListener("click", () => {
    const turned = document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen?.();
    turned?.catch(() => { byId("fullscreen").disabled = true; });
  });
  for (const name of TABS) {
    byId(`tab-${name}`).addEventListener("click", () => openTab(name));
    byId(`tab-${name}`).addEventListener("keydown", (event) => {
      const turn = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (turn === undefined) return;
      const next = TABS[(TABS.indexOf(name) + turn + TABS.length) % TABS.length];
      openTab(next);
      byId(`tab-${next}`).focus();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { applyTheme(); requestPaint(); });
  new ResizeObserver(() => fit(0)).observe(stage);
  window.addEventListener("hashchange", () => {
    Object.assign(state, START);
    restore(fromFragment());
    if (scene !== null) draw();
  });
}

function start() {
  if (GRAPH !== null) enlargeStart();
  restore(JSON.parse(byId("arranged").textContent));
  restore(fromFragment());
  titles();
  applyTheme();
  listenEverywhere();
  if (GRAPH === null) {
    document.body.classList.add("evaluation");
    evaluationOnly();
    openTab("about");
    return;
  }
  svg.call(zoom).on("dblclick.zoom", null);
  enableDrag();
  listen();
  openTab("node");
  render();
  draw();
  fit(0);
}

/** A page of evaluations alone: their curves, the points as a table, and where they come from. */
function evaluationOnly() {
  const points = DATA.evaluations.flatMap((one) => one.points.map((point) => ({ ...point, at: point.size })));
  const curves = [[false, ""], [true, "of-B"], [null, ""]]
    .map(([signed, kind]) => ({ kind, points: d3.sort(points.filter((point) => point.signed === signed), (point) => point.at) }))
    .filter((one) => one.points.length);
  const how = (point) => (point.signed === null ? "given" : point.signed ? "score" : "absolute score");
  const row = (point) => [d3.format(",")(point.n_edges), how(point), point.faithfulness.toFixed(3),
    point.interval ? `${point.interval[0].toFixed(3)} to ${point.interval[1].toFixed(3)}` : ""];
  const cells = ([first, ...rest]) => [element("th", { scope: "row" }, first), ...rest.map((text) => element("td", {}, text))];
  const table = element("table", {}, element("caption", {}, "Faithfulness of each circuit"),
    element("thead", {}, element("tr", {}, ...["Edges", "Selected by", "Faithfulness", "95 %"].map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...points.map((point) => element("tr", {}, ...cells(row(point))))));
  const chart = element("div", { id: "chart" });
  byId("chart").remove();
  stage.replaceChildren(element("div", { className: "sheet" }, chart, table));
  drawCurves(chart, curves, 1, null);
  if (curves.length > 1) chart.append(element("p", { className: "hint" }, "By absolute score in blue, by score in purple."));
}

start();
