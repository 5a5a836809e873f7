// Edges: as drawn (those of groups merged), as curves on a canvas or in an SVG, and which one is under the pointer.

/** The edges to draw, strongest first: what begins or ends at a group is merged, what is within one is left out. */
function drawnEdges(view, layout) {
  const made = [];
  const merged = new Map();
  view.edges.forEach((edge, index) => {
    const own = nodeKey(edge.from);
    const fromKey = layout.groupOf.get(own) || own;
    const end = port(layout, edge);
    if (fromKey === end.key) return;
    const start = layout.places.get(fromKey);
    const grouped = start.kind === "group" || layout.places.get(end.key).kind === "group";
    const id = grouped ? `${fromKey}->${end.key}:${Math.round(end.x)}` : "";
    if (grouped && merged.has(id)) {
      const known = merged.get(id);
      known.indices.push(index);
      known.score += edge.score;
      if (known.sort !== edge.sort && state.view === "difference") known.sort = "both";
      return;
    }
    const one = {
      indices: [index], score: edge.score, sort: edge.sort, from: fromKey, to: end.key,
      x0: start.x, y0: start.y - start.h / 2, x1: end.x, y1: end.y, grouped,
    };
    if (grouped) merged.set(id, one);
    made.push(one);
  });
  for (const one of merged.values()) {
    if (state.view !== "difference" && Number.isFinite(one.score)) one.sort = one.score < 0 ? "negative" : "positive";
  }
  const strength = (one) => (one.grouped ? Math.abs(one.score) || 0 : strengthOf(view.edges[one.indices[0]]));
  made.forEach((one) => { one.strength = strength(one); one.bend = bend(one); });
  made.sort((a, b) => b.strength - a.strength);
  const widest = d3.max(made, (one) => one.strength) || 1;
  const crowd = made.length <= 60 ? 0.95 : made.length <= 400 ? 0.8 : made.length <= 3000 ? 0.55 : 0.3;
  for (const one of made) {
    const part = one.strength / widest;
    one.width = 0.9 + 6.1 * part;
    one.alpha = crowd * (0.4 + 0.6 * Math.sqrt(part));
    if (["only-a", "only-b", "changed"].includes(one.sort)) Object.assign(one, { width: one.width + 0.7, alpha: crowd });
    if (one.sort === "plain") Object.assign(one, { width: 1, alpha: crowd * 0.5 });
  }
  return made;
}

/** How far a curve bends aside, so that it does not run straight through the nodes between its ends. */
function bend(one) {
  const rise = one.y0 - one.y1;
  const tokens = state.layout === "tokens";
  if (Math.abs(one.x1 - one.x0) > 26 || rise < (tokens ? 4 * TOKEN.y : STEP.y)) return 0;
  if (tokens) return (one.indices[0] % 2 ? 1 : -1) * TOKEN.x * 0.7;
  return (one.indices[0] % 2 ? 1 : -1) * Math.min(STEP.x / 2 + rise * 0.03, 62) * 1.3;
}

/** Draw the curve of an edge with a context of a canvas or a d3.path. */
function curve(context, one) {
  const rise = one.y0 - one.y1;
  const lift = Math.max(rise * 0.45, Math.min(24, Math.abs(one.x1 - one.x0) * 0.3));
  context.moveTo(one.x0, one.y0);
  context.bezierCurveTo(one.x0 + one.bend, one.y0 - lift, one.x1 + one.bend, one.y1 + lift, one.x1, one.y1);
}

function curvePoint(one, t) {
  const rise = one.y0 - one.y1;
  const lift = Math.max(rise * 0.45, Math.min(24, Math.abs(one.x1 - one.x0) * 0.3));
  const s = 1 - t;
  const [a, b, c, d] = [s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t];
  return [
    a * one.x0 + b * (one.x0 + one.bend) + c * (one.x1 + one.bend) + d * one.x1,
    a * one.y0 + b * (one.y0 - lift) + c * (one.y1 + lift) + d * one.y1,
  ];
}

function paint(context, edges, colours, emphasis) {
  context.lineCap = "round";
  for (let i = edges.length - 1; i >= 0; i--) {
    const one = edges[i];
    context.globalAlpha = emphasis ? Math.max(one.alpha, 0.9) : one.alpha;
    context.strokeStyle = colours[one.sort];
    context.lineWidth = emphasis ? one.width + 0.6 : one.width;
    context.setLineDash(one.sort === "changed" ? [7, 5] : []);
    context.beginPath();
    curve(context, one);
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** The edge nearest to a point, if it is within a few pixels of it. */
function edgeAt(edges, x, y, within) {
  let nearest = null;
  let least = within;
  for (const one of edges) {
    if (y > one.y0 + within || y < one.y1 - within) continue;
    let before = curvePoint(one, 0);
    for (let step = 1; step <= 14; step++) {
      const next = curvePoint(one, step / 14);
      const distance = toSegment(x, y, before, next) - one.width / 2;
      if (distance < least) {
        least = distance;
        nearest = one;
      }
      before = next;
    }
  }
  return nearest;
}

function toSegment(x, y, [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const t = Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

function edgeColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["positive", "negative", "plain", "only-a", "only-b", "both", "changed"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
