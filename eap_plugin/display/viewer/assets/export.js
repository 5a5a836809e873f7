// What is seen, as a file: SVG, PNG, JSON, or this page with all that was arranged.

/** What is seen, as plain values: nodes with their places and names, edges with their scores, groups, and the choices made. */
function seen() {
  const { view, layout, nodes } = scene;
  const put = forward();
  const indices = put === null ? view.edges.map((_, index) => index) : [...put].sort((a, b) => a - b);
  return {
    eap_plugin: { kind: "view", schema: 1 },
    title: byId("title").textContent,
    files: view.datasets.map((one) => ({ letter: one.letter, name: one.name, metadata: one.metadata })),
    graph: DATA.graph,
    choices: { view: state.view, layout: state.layout, method: state.layout === "tokens" ? "top" : state.method, signed: state.signed, size: state.size, connected: state.connected, hidden: state.hidden, focus: state.focus, path: state.path },
    faithfulness: view.datasets.map((one) => faithfulnessAt(fittingPoints(one), state.size)),
    nodes: nodes.filter((place) => place.active).map((place) => ({
      node: place.key, ...(place.position === null ? {} : { position: place.position }),
      ...(shownName(place) === place.name && place.kind !== "group" ? {} : { label: shownName(place) }),
      ...(place.kind === "group" ? { members: place.members.map((one) => one.key) } : {}),
      x: Math.round(place.x), y: Math.round(place.y), pinned: Boolean(place.pinned),
    })),
    edges: indices.map((index) => {
      const edge = view.edges[index];
      return {
        edge: edgeName(edge.edge), source: GRAPH.nodes[edge.row].name, reader: GRAPH.readers[edge.column].name,
        ...(edge.position === null ? {} : { position: edge.position }),
        score: Number.isFinite(edge.score) ? edge.score : null,
        ...(view.datasets.length > 1 ? { other_score: edge.other, which: edge.sort } : {}),
      };
    }),
    groups: state.groups.filter((one) => layout.places.has(one.id)),
    labels: state.names,
  };
}

const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-weight", "text-anchor", "visibility", "letter-spacing"];

/** The picture as an SVG of its own: the same curves, and the nodes with their computed style. */
function svgText() {
  const box = extent();
  const space = "http://www.w3.org/2000/svg";
  const root = document.createElementNS(space, "svg");
  const [width, height] = [box.x1 - box.x0, box.y1 - box.y0];
  const colours = edgeColours();
  root.setAttribute("xmlns", space);
  root.setAttribute("viewBox", [box.x0, box.y0, width, height].map(Math.round).join(" "));
  root.setAttribute("width", Math.round(width));
  root.setAttribute("height", Math.round(height));
  root.setAttribute("font-family", "system-ui, Helvetica Neue, Arial, DejaVu Sans, sans-serif");
  const add = (parent, tag, attributes) => {
    const made = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    parent.append(made);
    return made;
  };
  add(root, "title", {}).textContent = byId("title").textContent;
  add(root, "rect", { x: box.x0, y: box.y0, width, height, fill: getComputedStyle(stage).backgroundColor });
  const put = forward();
  const lines = add(root, "g", { id: "edges", fill: "none", "stroke-linecap": "round" });
  for (const one of [...scene.drawn].reverse()) {
    const faded = put !== null && !one.indices.some((index) => put.has(index));
    if (faded) continue;
    const path = d3.pathRound(1);
    curve(path, one);
    const names = one.indices.map((index) => seenName(scene.view.edges[index]));
    const made = add(lines, "path", {
      d: path.toString(), stroke: colours[one.sort], "stroke-width": one.width.toFixed(2), "stroke-opacity": one.alpha.toFixed(2),
      "data-edges": names.join(" "), ...(one.sort === "changed" ? { "stroke-dasharray": "7 5" } : {}),
    });
    add(made, "title", {}).textContent = `${names.join(", ")}: ${signedNumber(one.score)}`;
  }
  for (const layer of ["g.back", "g.nodes"]) root.append(styled(world.select(layer).node()));
  return new XMLSerializer().serializeToString(root);
}

/** A copy of drawn elements that needs no style sheet. */
function styled(original) {
  const copy = original.cloneNode(true);
  const pairs = [[original, copy]];
  while (pairs.length) {
    const [from, to] = pairs.pop();
    const style = getComputedStyle(from);
    if (style.display === "none") {
      to.remove();
      continue;
    }
    for (const name of DRAWN) to.setAttribute(name, style.getPropertyValue(name));
    for (const name of ["class", "role", "tabindex", "aria-label"]) to.removeAttribute(name);
    [...from.children].forEach((child, i) => pairs.push([child, to.children[i]]));
  }
  return copy;
}

/** The picture as PNG, at twice the size; smaller where a browser's canvas would not hold it. */
function png(done) {
  const image = new Image();
  const url = URL.createObjectURL(new Blob([svgText()], { type: "image/svg+xml" }));
  image.onload = () => {
    const scale = Math.min(2, 8000 / Math.max(image.width, image.height));
    const canvas = element("canvas");
    canvas.width = Math.round(image.width * scale);
    canvas.height = Math.round(image.height * scale);
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(url);
    canvas.toBlob(done, "image/png");
  };
  image.src = url;
}

/** This page as it was opened, with what is arranged now in it. */
function copyText() {
  const text = JSON.stringify(arranged()).replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
  PRISTINE.querySelector("#arranged").textContent = text;
  return `<!DOCTYPE html>\n${PRISTINE.outerHTML}\n`;
}

function save(blob, suffix) {
  const name = byId("title").textContent.replace(/[^\w.-]+/g, "-").replace(/^[-.]+|-+$/g, "").slice(0, 60) || "circuit";
  const url = URL.createObjectURL(blob);
  const link = element("a", { href: url, download: `${name}${suffix}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  byId("export").open = false;
}
