// Where nodes are: layers from bottom to top, heads and MLPs in place; or by token from left to right.

/** Models of many layers are seen from farther away: their nodes are larger, and their layers closer together. */
const LARGE = GRAPH !== null && GRAPH.n_layers > 6;
const HEAD = LARGE ? { w: 76, h: 36 } : { w: 52, h: 28 };
const STEP = LARGE ? { x: 98, y: 90 } : { x: 68, y: 124 };
const MLP_LIFT = GRAPH !== null && GRAPH.parallel ? 0 : STEP.y * 0.36;
const GROUP_GAP = 22;
const TOKEN = { w: 46, h: 20, x: 52, y: 34, gap: 26 };

/** The middle of a head on the x axis, and the left end of the MLPs' column. */
function headX(head) {
  return head * STEP.x + (GRAPH.group > 1 ? Math.floor(head / GRAPH.group) * GROUP_GAP : 0);
}

function modelPlaces() {
  const places = new Map();
  const right = headX(GRAPH.n_heads - 1);
  const mlpX = right + STEP.x + 30;
  const middle = (GRAPH.has_mlp ? mlpX : right) / 2;
  GRAPH.nodes.forEach((node, index) => {
    const y = -node.layer * STEP.y;
    const at = {
      input: { x: middle, y: STEP.y * 0.85, w: HEAD.w * 1.45, h: HEAD.h },
      logits: { x: middle, y: -(GRAPH.n_layers - 1) * STEP.y - STEP.y * 0.85 - MLP_LIFT * 0.7, w: HEAD.w * 1.45, h: HEAD.h },
      head: { x: headX(node.head), y, ...HEAD },
      mlp: { x: mlpX, y: y - MLP_LIFT, w: HEAD.w, h: HEAD.h - 4 },
    }[node.kind];
    places.set(node.name, { key: node.name, number: index, node: index, position: null, ...node, ...at });
  });
  return { places, left: -STEP.x / 2, right: (GRAPH.has_mlp ? mlpX : right) + STEP.x / 2, columns: null };
}

/** By token: a column for each position, in it for each layer a block of heads and above it the MLP. */
function tokenPlaces(view) {
  const width = GRAPH.logits + 1;
  const used = d3.group([...view.nodes].sort((a, b) => a - b), (number) => Math.floor(number / width));
  const nPositions = d3.max(DATASETS, (one) => (one.positions ? one.positions.n : 0));
  const blocks = d3.range(nPositions).map((position) => tokenBlock(position, used.get(position) || []));
  const wide = d3.sum(blocks, (block) => block.wide + TOKEN.gap);
  const heights = d3.range(GRAPH.n_layers).map((layer) => Math.max(1, d3.max(blocks, (block) => block.rows[layer].length)) * TOKEN.y);
  const air = Math.max(44, Math.min(150, (0.55 * wide - d3.sum(heights)) / (GRAPH.n_layers + 1)));
  const base = d3.range(GRAPH.n_layers).map((layer) => -d3.sum(heights.slice(0, layer)) - layer * air);
  const top = base.at(-1) - heights.at(-1) - air + TOKEN.y;
  const places = new Map();
  let x = 0;
  const columns = blocks.map((block) => {
    const middle = x + block.wide / 2;
    const put = (row, y) => row.forEach((number, i) => {
      const node = GRAPH.nodes[number % width];
      const key = `${node.name}@${block.position}`;
      const at = { x: middle + (i - (row.length - 1) / 2) * TOKEN.x, y, w: TOKEN.w, h: TOKEN.h };
      places.set(key, { ...node, key, number, node: number % width, position: block.position, ...at });
    });
    put(block.input, air * 0.8);
    put(block.logits, top);
    block.rows.forEach((rows, layer) => rows.forEach((row, i) => put(row, base[layer] - i * TOKEN.y)));
    x += block.wide + TOKEN.gap;
    return { position: block.position, x: middle };
  });
  return { places, left: 0, right: x - TOKEN.gap, columns, base, top, bottom: air * 0.8 };
}

/** The nodes at a position, in rows from bottom to top within each layer; at most four heads to a row. */
function tokenBlock(position, numbers) {
  const width = GRAPH.logits + 1;
  const of = (kind, layer) => numbers.filter((number) => {
    const node = GRAPH.nodes[number % width];
    return node.kind === kind && (layer === undefined || node.layer === layer);
  });
  const rows = d3.range(GRAPH.n_layers).map((layer) => {
    const heads = of("head", layer);
    const mlps = of("mlp", layer);
    return [...d3.range(0, heads.length, 4).map((first) => heads.slice(first, first + 4)), ...(mlps.length ? [mlps] : [])];
  });
  const most = Math.max(0, ...rows.flat().map((row) => row.length));
  return { position, rows, input: of("input"), logits: of("logits"), wide: Math.max(most * TOKEN.x, 34) };
}

/** Places of all nodes, with those that a person moved where they were put, and groups in the middle of their members. */
function computeLayout(view) {
  const layout = state.layout === "tokens" ? tokenPlaces(view) : modelPlaces();
  const { places } = layout;
  layout.groupOf = new Map();
  for (const group of state.groups) {
    const members = group.members.filter((key) => places.has(key)).map((key) => places.get(key));
    if (members.length < 2) continue;
    members.forEach((one) => layout.groupOf.set(one.key, group.id));
    places.set(group.id, {
      key: group.id, kind: "group", name: group.name, group, members, position: members[0].position,
      x: d3.mean(members, (one) => one.x), y: d3.mean(members, (one) => one.y),
      layer: members[0].layer, w: HEAD.w * 1.65, h: HEAD.h + 2,
    });
  }
  for (const [key, [x, y]] of Object.entries(state.pins)) {
    if (places.has(key)) Object.assign(places.get(key), { x, y, pinned: true });
  }
  return layout;
}

/** Where the edges into a reader end, and the group of heads whose k and v it is. */
function port(layout, edge) {
  const reader = GRAPH.readers[edge.column];
  const keys = edge.to.map(nodeKey);
  const owners = new Set(keys.map((key) => layout.groupOf.get(key) || key));
  if (owners.size === 1) {
    const place = layout.places.get([...owners][0]);
    if (place.kind === "group") return { key: place.key, x: place.x, y: place.y + place.h / 2 };
    return { key: place.key, x: place.x + slotOffset(reader.slot, place, false), y: place.y + place.h / 2 + 1 };
  }
  const heads = keys.map((key) => layout.places.get(key));
  const x = d3.mean(heads, (one) => one.x) + slotOffset(reader.slot, heads[0], true);
  return { key: heads[0].key, x, y: d3.max(heads, (one) => one.y + one.h / 2) + (state.layout === "tokens" ? 1 : GROUP_PORT) };
}

const GROUP_PORT = 13;

function slotOffset(slot, place, shared) {
  const spread = place.w * 0.3;
  if (shared) return { k: -9, v: 9 }[slot] || 0;
  return { q: -spread, k: 0, v: spread }[slot] || 0;
}
