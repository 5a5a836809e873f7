// The picture: its zoom, what is drawn on it, and what is put forward.

const stage = document.getElementById("stage");
const canvases = ["edges", "strong"].map((id) => document.getElementById(id));
const svg = d3.select("#nodes");
const world = d3.select("#world");
world.append("g").attr("class", "back");
world.append("g").attr("class", "nodes");

let scene = null;
let transform = d3.zoomIdentity;
let emphasised = new Set();

const zoom = d3.zoom().scaleExtent([0.05, 6]).filter((event) => {
  return event.type === "wheel" || (pointerOnNode(event) === undefined && !event.ctrlKey && !event.button);
}).on("zoom", (event) => {
  transform = event.transform;
  world.attr("transform", transform.toString());
  svg.classed("far", transform.k < 0.45);
  hideTip();
  requestPaint();
});

/** Compute what is seen and draw it. */
function render() {
  const view = computeView();
  const layout = computeLayout(view);
  scene = { view, layout, found: scene === null ? undefined : scene.found };
  scene.drawn = drawnEdges(view, layout);
  stage.classList.toggle("large", LARGE && layout.columns === null);
  scene.nodes = drawnNodes(scene);
  drawBackground(world, scene);
  drawNodes(world, scene);
  emphasise();
  rove();
  const none = document.getElementById("empty");
  none.hidden = view.edges.length > 0 || view.nodes.size > 0;
  none.textContent = view.selected && state.connected
    ? "None of the selected edges connects input to logits: move the slider to the right, or show all that are selected."
    : "Nothing is selected: move the slider to the right.";
}

/** The edges that the focused node, path or search puts forward; the others fade. */
function emphasise() {
  const put = forward();
  emphasised = put === null ? new Set() : put;
  stage.classList.toggle("focus", put !== null);
  const touched = new Set();
  if (put !== null) {
    for (const index of put) {
      const edge = scene.view.edges[index];
      [edge.from, ...edge.to].forEach((number) => {
        const key = nodeKey(number);
        touched.add(scene.layout.groupOf.get(key) || key);
      });
    }
    if (state.focus !== null) touched.add(state.focus);
  }
  world.selectAll("g.node").classed("faded", (place) => put !== null && !touched.has(place.key))
    .classed("marked", (place) => state.marked.includes(place.key))
    .classed("focused", (place) => place.key === state.focus || (state.path !== null && state.path.includes(place.key)));
  requestPaint();
}

function numbersOf(key) {
  const place = scene.layout.places.get(key);
  if (place === undefined) return null;
  return new Set(place.kind === "group" ? place.members.map((one) => one.number) : [place.number]);
}

/** The indices of edges that are put forward; null if all are alike. */
function forward() {
  if (state.path !== null) {
    const [a, b] = state.path.map(numbersOf);
    if (a !== null && b !== null) return new Set(strongestPath(scene.view, between(scene.view, a, b)));
  }
  if (state.focus === null) return null;
  const numbers = numbersOf(state.focus);
  if (numbers === null) return null;
  return new Set([...reach(scene.view, numbers, true).edges, ...reach(scene.view, numbers, false).edges]);
}

let painting = 0;
let painted = [];

function requestPaint() {
  if (!painting) painting = requestAnimationFrame(paintNow);
}

function paintNow() {
  painting = 0;
  if (scene === null) return;
  const colours = edgeColours();
  const ratio = window.devicePixelRatio || 1;
  const { width, height } = stage.getBoundingClientRect();
  const isForward = (one) => one.indices.some((index) => emphasised.has(index));
  const hovered = scene.hovered ? new Set(scene.hovered) : null;
  const layers = [scene.drawn, scene.drawn.filter((one) => (hovered ? one.indices.some((index) => hovered.has(index)) : emphasised.size && isForward(one)))];
  stage.classList.toggle("hover", hovered !== null);
  const now = [scene.drawn, transform, colours.positive, width, height, ratio];
  const same = now.every((value, i) => value === painted[i]);
  painted = now;
  canvases.forEach((canvas, i) => {
    if (i === 0 && same) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(ratio * transform.k, 0, 0, ratio * transform.k, ratio * transform.x, ratio * transform.y);
    paint(context, layers[i], colours, i === 1);
  });
}

/** The box around everything that is drawn. */
function extent() {
  const all = scene.nodes;
  const bottom = d3.max(all, (place) => place.y + place.h / 2) + (scene.layout.columns === null ? 14 : 0);
  const lowest = scene.layout.columns === null ? bottom : scene.layout.bottom + 100;
  return {
    x0: Math.min(scene.layout.left - 76, d3.min(all, (place) => place.x - place.w / 2)),
    x1: Math.max(scene.layout.right, d3.max(all, (place) => place.x + place.w / 2)) + 14,
    y0: d3.min(all, (place) => place.y - place.h / 2) - 14,
    y1: lowest,
  };
}

function fit(duration) {
  if (scene === null || !scene.nodes.length) return;
  const { width, height } = stage.getBoundingClientRect();
  const box = extent();
  const below = Math.min(64, height * 0.12);
  const k = Math.min(1.6, (width - 24) / (box.x1 - box.x0), (height - 20 - below) / (box.y1 - box.y0));
  const x = width / 2 - (k * (box.x0 + box.x1)) / 2;
  const y = (height - below) / 2 + 4 - (k * (box.y0 + box.y1)) / 2;
  const to = d3.zoomIdentity.translate(x, y).scale(k);
  const still = duration === 0 || matchMedia("(prefers-reduced-motion: reduce)").matches;
  (still ? svg : svg.transition().duration(duration)).call(zoom.transform, to);
}
