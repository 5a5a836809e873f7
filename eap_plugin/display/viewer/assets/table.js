// The seen edges as a table of text, strongest first, and what a search finds.

let tableRows = 100;

function drawTable() {
  const panel = byId("panel-table");
  if (panel.hidden) return;
  const { edges } = scene.view;
  const indices = tableEdges();
  const two = state.view === "difference";
  const head = element("tr", {}, ...["Edge", "Score", two ? "Which" : "Share"].map((name) => element("th", { scope: "col" }, name)));
  const rows = indices.slice(0, tableRows).map((index) => {
    const edge = edges[index];
    const row = element("tr", {}, element("th", { scope: "row" }, button(seenName(edge), () => focusOn(nodeKey(edge.from)), { className: "link" })),
      element("td", { className: edge.sort }, numberOf(edge)), element("td", {}, two ? SORTS[edge.sort] : percentText(share(edge))));
    row.addEventListener("mouseenter", () => hoverEdges([index]));
    row.addEventListener("mouseleave", hideTip);
    return row;
  });
  const what = state.focus === null ? "Seen edges" : `Edges up- and downstream of ${clipped(state.focus, 40)}`;
  const table = element("table", {}, element("caption", {}, `${what}, the strongest first: ${d3.format(",")(indices.length)}`), element("thead", {}, head), element("tbody", {}, ...rows));
  const more = indices.length > tableRows ? [button("Show more", () => { tableRows *= 5; drawTable(); }, { id: "more" })] : [];
  panel.replaceChildren(table, ...more);
}

function tableEdges() {
  const put = forward();
  return put === null ? scene.view.edges.map((_, index) => index) : [...put].sort((a, b) => a - b);
}

function hoverEdges(indices) {
  scene.hovered = indices;
  requestPaint();
}

/** Nodes and edges whose name, given name or group has the text; the nodes are marked in the picture. */
function search(text) {
  const wanted = text.trim().toLowerCase();
  const hit = (name) => name.toLowerCase().includes(wanted);
  const nodes = wanted ? scene.nodes.filter((place) => hit(place.key) || hit(shownName(place))) : [];
  scene.found = new Set(nodes.map((place) => place.key));
  world.selectAll("g.node").classed("found", (place) => scene.found.has(place.key));
  const edges = wanted ? d3.range(scene.view.edges.length).filter((index) => hit(seenName(scene.view.edges[index]))) : [];
  byId("found").replaceChildren(...nodes.slice(0, 20).map((place) => element("option", { value: clipped(shownName(place), 100) })));
  if (nodes.length || edges.length || !wanted) hoverEdges(edges.length && edges.length < 400 ? edges : null);
  return { nodes, edges };
}

/** Go to what is searched for: a node is isolated, an edge's writer. */
function goTo(text) {
  const { nodes, edges } = search(text);
  const exact = nodes.find((place) => [place.key, shownName(place)].includes(text.trim()));
  if (exact || nodes.length) focusOn((exact || nodes.find((place) => place.active) || nodes[0]).key);
  else if (edges.length) focusOn(nodeKey(scene.view.edges[edges[0]].from));
}
