// Nodes: elements of an SVG that can be focused, with the ports of q, k and v, names, and marks.

/** The label of a node, as a person named it or as the graph does. */
function shownName(place) {
  return state.names[place.key] || (place.kind === "group" ? place.group.name : place.name);
}

function shortName(place) {
  return place.kind === "group" ? place.group.name : place.name;
}

function clipped(text, length) {
  const letters = [...text];
  return letters.length > length ? `${letters.slice(0, length - 1).join("")}…` : text;
}

function describe(scene, place) {
  const { into, out } = edgesOf(scene, place.key);
  const kind = { head: `head ${place.head} of layer ${place.layer}`, mlp: `MLP of layer ${place.layer}` }[place.kind];
  const what = place.kind === "group" ? `group of ${place.members.length} nodes` : kind;
  const where = place.position === null ? "" : `, position ${place.position}`;
  return `${clipped(shownName(place), 80)}${what ? `, ${what}` : ""}${where}: ${into.length} edges in, ${out.length} out`;
}

/** The seen edges into and out of a node or group, as indices. */
function edgesOf(scene, key) {
  const { view, layout } = scene;
  const place = layout.places.get(key);
  const numbers = place === undefined ? [] : place.kind === "group" ? place.members.map((one) => one.number) : [place.number];
  const collect = (map) => [...new Set(numbers.flatMap((number) => map.get(number) || []))].sort((a, b) => a - b);
  const within = new Set(numbers);
  const outside = (index) => {
    const edge = view.edges[index];
    return !(within.has(edge.from) && edge.to.every((node) => within.has(node)));
  };
  return { into: collect(view.adjacency.into).filter(outside), out: collect(view.adjacency.out).filter(outside) };
}

/** Nodes that are drawn: in place of members their group; without an edge, as a faint outline. */
function drawnNodes(scene) {
  const { view, layout } = scene;
  const used = new Set([...view.nodes].map(nodeKey));
  return [...layout.places.values()]
    .filter((place) => !layout.groupOf.has(place.key))
    .map((place) => {
      place.active = place.kind === "group" ? place.members.some((one) => used.has(one.key)) : used.has(place.key);
      return place;
    })
    .sort((a, b) => b.y - a.y || a.x - b.x);
}

function drawNodes(world, scene) {
  const { nodes } = scene;
  const groups = world.select("g.nodes").selectAll("g.node").data(nodes, (place) => place.key).join((enter) => {
    const made = enter.append("g").attr("class", "node").attr("role", "button").attr("tabindex", -1);
    made.append("rect").attr("class", "ring");
    made.append("rect").attr("class", "box");
    made.append("text").attr("class", "label");
    made.append("text").attr("class", "given");
    made.append("path").attr("class", "pin").attr("d", "M0,-5L4,0L0,5L-4,0Z");
    made.append("g").attr("class", "ports").each(function ports(place) { drawPorts(d3.select(this), place); });
    return made;
  });
  const dataset = scene.view.datasets[0];
  groups
    .attr("transform", (place) => `translate(${place.x},${place.y})`)
    .attr("data-key", (place) => place.key)
    .attr("aria-label", (place) => describe(scene, place))
    .classed("idle", (place) => !place.active)
    .classed("mlp", (place) => place.kind === "mlp")
    .classed("end", (place) => place.kind === "input" || place.kind === "logits")
    .classed("group", (place) => place.kind === "group")
    .classed("pinned", (place) => Boolean(place.pinned))
    .classed("found", (place) => scene.found !== undefined && scene.found.has(place.key))
    .classed("positive", (place) => NODE_LEVEL && place.active && dataset.scores[place.node] > 0)
    .classed("negative", (place) => NODE_LEVEL && place.active && dataset.scores[place.node] < 0);
  for (const [name, grown] of [["box", 0], ["ring", 4]]) {
    groups.select(`rect.${name}`)
      .attr("x", (place) => -place.w / 2 - grown).attr("y", (place) => -place.h / 2 - grown)
      .attr("width", (place) => place.w + 2 * grown).attr("height", (place) => place.h + 2 * grown)
      .attr("rx", (place) => (place.kind === "mlp" ? 3 : place.h / 2.4) + grown);
  }
  setText(groups.select("text.label").attr("dy", "0.35em"), (place) => clipped(shortName(place), 11));
  setText(groups.select("text.given").attr("x", (place) => place.w / 2 + 5).attr("dy", "0.35em"),
    (place) => (state.names[place.key] && place.kind !== "group" ? clipped(state.names[place.key], 24) : ""));
  groups.select("path.pin").attr("transform", (place) => `translate(${place.w / 2 - 2},${-place.h / 2 + 1})`);
}

/** Set the text where it differs: text that is set anew is laid out anew. */
function setText(selection, text) {
  selection.each(function set(place) {
    const wanted = text(place);
    if (this.textContent !== wanted) this.textContent = wanted;
  });
}

/** The letters q, k and v at a head's lower edge; with grouped-query attention, its q only. */
function drawPorts(parent, place) {
  const letters = place.kind !== "head" || state.layout === "tokens" || GRAPH.summed_qkv ? [] : GRAPH.group > 1 ? ["q"] : ["q", "k", "v"];
  const x = (letter) => (GRAPH.group > 1 ? slotOffset("q", place, false) : slotOffset(letter, place, false));
  parent.selectAll("text").data(letters).join("text")
    .attr("class", "port").attr("x", x).attr("y", place.h / 2 - 2.5).text((letter) => letter);
}

/** Behind the nodes: the layers' names, the boxes of heads that share k and v, and the tokens. */
function drawBackground(world, scene) {
  const { layout } = scene;
  const back = world.select("g.back");
  const layers = d3.range(GRAPH.n_layers).map((layer) => ({ layer, y: layout.base ? layout.base[layer] : -layer * STEP.y }));
  back.selectAll("line.layer").data(layers).join("line").attr("class", "layer")
    .attr("x1", layout.left - 8).attr("x2", layout.right + 8)
    .attr("y1", (one) => one.y + 24).attr("y2", (one) => one.y + 24)
    .attr("visibility", layout.base ? "visible" : "hidden");
  back.selectAll("text.layer").data(layers).join("text").attr("class", "layer")
    .attr("x", layout.left - 20).attr("y", (one) => one.y).attr("dy", "0.35em").text((one) => `layer ${one.layer}`);
  const shared = layout.columns === null && GRAPH.group > 1
    ? d3.cross(d3.range(GRAPH.n_layers), d3.range(GRAPH.n_kv_heads)).map(([layer, group]) => ({ layer, group })) : [];
  const boxes = back.selectAll("g.shared").data(shared).join((enter) => {
    const made = enter.append("g").attr("class", "shared");
    made.append("rect");
    made.selectAll("text").data(["k", "v"]).join("text").attr("class", "port").text((letter) => letter);
    return made;
  });
  const middle = (one) => (headX(one.group * GRAPH.group) + headX((one.group + 1) * GRAPH.group - 1)) / 2;
  const wide = (GRAPH.group - 1) * STEP.x + HEAD.w + 14;
  boxes.attr("transform", (one) => `translate(${middle(one)},${-one.layer * STEP.y})`);
  boxes.select("rect").attr("x", -wide / 2).attr("y", -HEAD.h / 2 - 7).attr("width", wide).attr("height", HEAD.h + 20).attr("rx", 12);
  boxes.selectAll("text").attr("x", (letter) => slotOffset(letter, HEAD, true)).attr("y", HEAD.h / 2 + 10)
    .attr("visibility", GRAPH.summed_qkv ? "hidden" : "visible");
  const columns = layout.columns === null ? [] : layout.columns;
  back.selectAll("g.token").data(columns).join((enter) => {
    const made = enter.append("g").attr("class", "token");
    made.append("line");
    made.append("text").attr("class", "word");
    made.append("text").attr("class", "place");
    return made;
  }).attr("transform", (one) => `translate(${one.x},0)`).each(function column(one) {
    d3.select(this).select("line").attr("y1", layout.bottom + 12).attr("y2", layout.top - 12);
    d3.select(this).select("text.word").attr("transform", `translate(4,${layout.bottom + 46}) rotate(-40)`).text(clipped(tokenText(one.position), 14));
    d3.select(this).select("text.place").attr("y", layout.bottom + 30).text(one.position);
  });
}

/** The token at a position: the label that the file has, or that of its first example. */
function tokenText(position) {
  for (const { metadata } of DATASETS) {
    const labels = Array.isArray(metadata.tokens) ? metadata.tokens : (metadata.examples || [])[0]?.clean;
    if (Array.isArray(labels) && labels[position] !== undefined) return String(labels[position]);
  }
  return "";
}
