// The data of the page, decoded: the graph as eap-plugin numbers it, and the files shown on it.

/** The page as it was opened, for copies of it. */
const PRISTINE = document.documentElement.cloneNode(true);

const DATA = JSON.parse(document.getElementById("data").textContent);

function bytes(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0)).buffer;
}

function decodeScores(text) {
  return text === null || text === undefined ? null : new Float32Array(bytes(text));
}

function decodeIndices(text, total) {
  return total <= 65536 ? new Uint16Array(bytes(text)) : new Uint32Array(bytes(text));
}

/** Writers in rows, readers in columns, and which writers are computed from which reader; as in eap_plugin.model.graph. */
function buildGraph(given) {
  const { n_layers, n_heads, n_kv_heads, parallel, has_mlp, summed_qkv } = given;
  const perLayer = n_heads + (has_mlp ? 1 : 0);
  const group = n_heads / n_kv_heads;
  const sources = [{ name: "input", kind: "input", layer: -1, head: 0 }];
  const readers = [];
  const feeds = [];
  const slots = summed_qkv ? [["qkv", n_kv_heads]] : [["q", n_heads], ["k", n_kv_heads], ["v", n_kv_heads]];
  for (let layer = 0; layer < n_layers; layer++) {
    const first = 1 + layer * perLayer;
    for (const [slot, count] of slots) {
      for (let head = 0; head < count; head++) {
        const letter = slot === "qkv" ? (group === 1 ? "h" : "g") : "h";
        const name = `a${layer}.${letter}${head}` + (slot === "qkv" ? "" : `<${slot}>`);
        readers.push({ slot, layer, head, upstream: first, name });
        const heads = slot === "q" ? [head] : d3.range(head * group, (head + 1) * group);
        feeds.push(heads.map((one) => first + one));
      }
    }
    for (let head = 0; head < n_heads; head++) {
      sources.push({ name: `a${layer}.h${head}`, kind: "head", layer, head });
    }
    if (has_mlp) {
      sources.push({ name: `m${layer}`, kind: "mlp", layer, head: 0 });
      readers.push({ slot: "mlp", layer, head: 0, upstream: parallel ? first : first + n_heads, name: `m${layer}` });
      feeds.push([first + n_heads]);
    }
  }
  const logits = sources.length;
  readers.push({ slot: "logits", layer: n_layers - 1, head: 0, upstream: logits, name: "logits" });
  feeds.push([logits]);
  const rows = [];
  const columns = [];
  for (let row = 0; row < logits; row++) {
    for (let column = 0; column < readers.length; column++) {
      if (row < readers[column].upstream) {
        rows.push(row);
        columns.push(column);
      }
    }
  }
  const nodes = [...sources, { name: "logits", kind: "logits", layer: n_layers, head: 0 }];
  return { ...given, group, nodes, readers, feeds, rows, columns, nEdges: rows.length, logits };
}

function edgeName(edge) {
  return `${GRAPH.nodes[GRAPH.rows[edge]].name}->${GRAPH.readers[GRAPH.columns[edge]].name}`;
}

/** A file as arrays over the graph's edges (or nodes): its scores, NaN where unknown, and its selections. */
function buildDataset(given, index) {
  const total = given.kind === "node" ? GRAPH.logits : GRAPH.nEdges;
  const members = given.members === undefined ? null : decodeIndices(given.members, GRAPH.nEdges);
  const values = decodeScores(given.scores);
  const place = (item) => (members === null ? item : members[item]);
  const scores = new Float32Array(total).fill(NaN);
  const stderr = decodeScores(given.stderr);
  if (values !== null) values.forEach((value, item) => { scores[place(item)] = value; });
  const items = (text) => Array.from(decodeIndices(text, given.n), place);
  const selections = given.selections.map((one) => ({
    method: one.method, summary: one.summary, signed: one.signed,
    order: one.order === undefined ? null : items(one.order),
    stops: one.stops === undefined ? null : one.stops.map((stop) => ({ size: stop.size, items: items(stop.items) })),
  }));
  return {
    letter: "AB"[index], name: given.name, kind: given.kind, n: given.n, scores, stderr, selections,
    hasScores: values !== null,
    strength: values === null ? 0 : d3.sum(values, Math.abs),
    positions: given.positions === undefined ? null : buildPositions(given.positions, given.n),
    metadata: given.metadata,
  };
}

function buildPositions(given, n) {
  const orders = given.orders.map(({ signed, order }) => ({ signed, order: decodeIndices(order, given.n * n) }));
  const scores = decodeScores(given.scores);
  return { n: given.n, scores, orders, strength: d3.sum(scores, Math.abs) };
}

const GRAPH = DATA.graph === null ? null : buildGraph(DATA.graph);
const DATASETS = DATA.datasets.map(buildDataset);
const NODE_LEVEL = DATASETS.some((one) => one.kind === "node");
const UNIT = NODE_LEVEL ? "node" : "edge";

/** The largest number of edges (or nodes) that can be selected in the present arrangement. */
function largest() {
  const counts = DATASETS.map((one) => (state.layout === "tokens" && one.positions ? one.positions.n * one.n : one.n));
  return Math.max(0, ...counts);
}

/** What a file's selection of a size has; of methods stored at some sizes only, the next smaller of these. */
function selectedItems(dataset, size) {
  const fitting = dataset.selections.filter((one) => one.method === state.method);
  const chosen = fitting.find((one) => one.signed === state.signed) || fitting[0] || dataset.selections[0];
  if (chosen === undefined) return [];
  if (chosen.order !== null) return chosen.order.slice(0, size);
  const stop = chosen.stops.filter((one) => one.size <= size).at(-1);
  return stop === undefined ? [] : stop.items;
}
