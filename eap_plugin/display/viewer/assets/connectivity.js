// Which edges lie on paths: pruning as in eap_plugin.circuits.pruning, what is up- and downstream, the strongest path.

/** The edges that lie on a path from input to the logits. */
function keepConnected(edges) {
  for (;;) {
    const out = new Uint8Array(GRAPH.logits + 1);
    const into = new Uint8Array(GRAPH.logits + 1);
    into[0] = 1;
    out[GRAPH.logits] = 1;
    for (const edge of edges) {
      out[GRAPH.rows[edge]] = 1;
      for (const node of GRAPH.feeds[GRAPH.columns[edge]]) into[node] = 1;
    }
    const alive = (node) => node === GRAPH.logits || (into[node] && out[node]);
    const kept = edges.filter(
      (edge) => alive(GRAPH.rows[edge]) && GRAPH.feeds[GRAPH.columns[edge]].some((node) => alive(node)),
    );
    if (kept.length === edges.length) return edges;
    edges = kept;
  }
}

/** For each node, the indices of the seen edges into it and out of it. */
function adjacency(seen) {
  const into = new Map();
  const out = new Map();
  const add = (map, key, index) => (map.has(key) ? map.get(key).push(index) : map.set(key, [index]));
  seen.forEach((edge, index) => {
    add(out, edge.from, index);
    edge.to.forEach((node) => add(into, node, index));
  });
  return { into, out };
}

/** The seen edges upstream (or downstream) of some nodes, and the nodes that these connect. */
function reach(view, starts, upstream) {
  const { into, out } = view.adjacency;
  const nodes = new Set(starts);
  const edges = new Set();
  const waiting = [...starts];
  while (waiting.length) {
    const node = waiting.pop();
    for (const index of (upstream ? into : out).get(node) || []) {
      edges.add(index);
      for (const next of upstream ? [view.edges[index].from] : view.edges[index].to) {
        if (!nodes.has(next)) {
          nodes.add(next);
          waiting.push(next);
        }
      }
    }
  }
  return { nodes, edges };
}

/** The edges on any path between two sets of nodes, in whichever direction there is one. */
function between(view, first, second) {
  for (const [a, b] of [[first, second], [second, first]]) {
    const down = reach(view, a, false);
    const up = reach(view, b, true);
    const edges = new Set([...down.edges].filter((index) => up.edges.has(index)));
    if (edges.size) return { edges, starts: a, ends: b };
  }
  return { edges: new Set(), starts: first, ends: second };
}

/** Of the paths along some edges, the one whose weakest edge is strongest, as indices of edges from start to end. */
function strongestPath(view, { edges, starts, ends }) {
  const best = new Map([...starts].map((node) => [node, { width: Infinity, via: null }]));
  const ordered = [...edges].sort((a, b) => view.edges[a].from - view.edges[b].from);
  for (const index of ordered) {
    const edge = view.edges[index];
    const before = best.get(edge.from);
    if (before === undefined) continue;
    const width = Math.min(before.width, Math.abs(edge.score) || 0);
    for (const node of edge.to) {
      const known = best.get(node);
      if (known === undefined || (width > known.width && known.via !== null)) best.set(node, { width, via: index });
    }
  }
  const reached = [...ends].filter((node) => best.has(node) && best.get(node).via !== null);
  if (!reached.length) return [];
  let at = best.get(d3.greatest(reached, (node) => best.get(node).width));
  const path = [];
  while (at !== undefined && at.via !== null) {
    path.unshift(at.via);
    at = best.get(view.edges[at.via].from);
  }
  return path;
}
