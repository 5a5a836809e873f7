// What is seen: the selected edges of one file, or of two as a difference, in the arrangement chosen.

/** The nodes of a view are numbered by position and place in the graph; without positions, the position is 0. */
function nodeNumber(position, node) {
  return position * (GRAPH.logits + 1) + node;
}

function nodeKey(number) {
  const width = GRAPH.logits + 1;
  const name = GRAPH.nodes[number % width].name;
  return state.layout === "tokens" ? `${name}@${Math.floor(number / width)}` : name;
}

function seenEdge(edge, position, score, sort, other) {
  const row = GRAPH.rows[edge];
  const column = GRAPH.columns[edge];
  const at = position === null ? 0 : position;
  return {
    edge, row, column, position, score, sort, other,
    from: nodeNumber(at, row), to: GRAPH.feeds[column].map((node) => nodeNumber(at, node)),
  };
}

/** The selected edges of a file, as numbers that identify edge and position, with their scores. */
function chosenEdges(dataset) {
  if (dataset.kind === "node") return nodesEdges(dataset);
  if (state.layout === "tokens" && dataset.positions) {
    const { orders, scores } = dataset.positions;
    const { order } = orders.find((one) => one.signed === state.signed);
    return new Map(Array.from(order.slice(0, state.size), (item) => [item, scores[item]]));
  }
  const selected = selectedItems(dataset, state.size);
  const kept = state.connected ? keepConnected(selected) : selected;
  return new Map(kept.map((edge) => [edge, dataset.scores[edge]]));
}

/** All edges out of the selected nodes, which have no scores of their own. */
function nodesEdges(dataset) {
  const chosen = new Set(selectedItems(dataset, state.size));
  const edges = d3.range(GRAPH.nEdges).filter((edge) => chosen.has(GRAPH.rows[edge]));
  return new Map((state.connected ? keepConnected(edges) : edges).map((edge) => [edge, NaN]));
}

function shownDatasets() {
  return state.view === "difference" ? DATASETS : DATASETS.filter((one) => one.letter === state.view);
}

function computeView() {
  const shown = shownDatasets();
  const found = shown.map(chosenEdges);
  const all = new Set(found.flatMap((one) => [...one.keys()]));
  const hidden = new Set(state.hidden);
  const byToken = state.layout === "tokens";
  const edges = [];
  for (const item of all) {
    const edge = byToken ? item % GRAPH.nEdges : item;
    if (hidden.has(slotOf(GRAPH.columns[edge]))) continue;
    const position = byToken ? Math.floor(item / GRAPH.nEdges) : null;
    const scores = found.map((one) => one.get(item));
    edges.push(seenEdge(edge, position, scores[0] ?? scores[1], sortOf(scores), scores[1] ?? null));
  }
  edges.sort((a, b) => strengthOf(b) - strengthOf(a) || a.edge - b.edge);
  const nodes = new Set(edges.flatMap((one) => [one.from, ...one.to]));
  if (NODE_LEVEL) shown.forEach((one) => selectedItems(one, state.size).forEach((node) => nodes.add(node)));
  const selected = d3.max(shown, (one) => Math.min(state.size, byToken && one.positions ? one.positions.n * one.n : one.n)) || 0;
  const view = { edges, nodes, selected, datasets: shown, adjacency: adjacency(edges) };
  view.widest = d3.max(edges, strengthOf) || 0;
  return view;
}


function slotOf(column) {
  const { slot } = GRAPH.readers[column];
  return slot === "qkv" ? "heads" : slot;
}

function strengthOf(edge) {
  const both = [edge.score, edge.other].filter((value) => value !== null && Number.isFinite(value)).map(Math.abs);
  return both.length ? Math.max(...both) : 0;
}

/** Of one file, the sign of the score; of two, which of them has the edge and whether its sign is the same. */
function sortOf(scores) {
  if (scores.length === 1) return Number.isNaN(scores[0]) ? "plain" : scores[0] < 0 ? "negative" : "positive";
  if (scores[1] === undefined) return "only-a";
  if (scores[0] === undefined) return "only-b";
  return scores[0] * scores[1] < 0 ? "changed" : "both";
}

const SORTS = {
  positive: "positive: helps", negative: "negative: hurts", plain: "no score", "only-a": "only in A",
  "only-b": "only in B", both: "in both", changed: "in both, sign changed",
};

/** The share of an edge in the sum of all absolute scores of its file. */
function share(edge) {
  const dataset = DATASETS.find((one) => one.letter === state.view) || DATASETS[edge.sort === "only-b" ? 1 : 0];
  const total = edge.position === null ? dataset.strength : dataset.positions.strength;
  return total > 0 ? Math.abs(edge.score) / total : NaN;
}

function seenName(edge) {
  return edgeName(edge.edge) + (edge.position === null ? "" : ` at ${edge.position}`);
}

function signedNumber(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const digits = size !== 0 && (size < 1e-3 || size >= 1e5) ? size.toExponential(2) : size.toPrecision(3);
  return (value < 0 ? "−" : "+") + digits.replace("e-", "e−").replace("e+", "e");
}

function percentText(value) {
  if (!Number.isFinite(value)) return "–";
  return value < 0.001 && value > 0 ? "<0.1%" : d3.format(".1%")(value);
}

function count(number, word) {
  return `${d3.format(",")(number)} ${word}${number === 1 ? "" : "s"}`;
}
