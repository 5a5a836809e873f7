// The controls of size and selection, the card under the pointer, and the panel of a node.

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  const { className, ...rest } = properties;
  if (className) made.className = className;
  for (const [name, value] of Object.entries(rest)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") made.toggleAttribute(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function button(text, act, properties = {}) {
  return element("button", { type: "button", onclick: act, ...properties }, text);
}

function sliderSize(value) {
  const n = largest();
  return value <= 0 ? 0 : Math.max(1, Math.round(Math.exp((Math.log(Math.max(n, 1)) * (value - 1)) / 999)));
}

function sliderValue(size) {
  const n = largest();
  return size <= 0 ? 0 : n <= 1 ? 1000 : Math.round(1 + (999 * Math.log(Math.min(size, n))) / Math.log(n));
}

function methodNames() {
  return [...new Set(DATASETS.flatMap((one) => one.selections.map((each) => each.method)))];
}

function drawControls() {
  const several = DATASETS.length > 1;
  const segments = (holder, options, current, choose) => {
    holder.replaceChildren(...options.map(([value, label]) => button(label, () => choose(value), { "aria-pressed": String(value === current), dir: "auto" })));
    holder.className = "row segments";
    holder.hidden = options.length < 2;
  };
  const label = (one) => [one.letter, clipped(nameOf(one), 18)].filter(Boolean).join(" · ");
  segments(byId("views"), several ? [...DATASETS.map((one) => [one.letter, label(one)]), ["difference", "difference"]] : [], state.view, (view) => change({ view }));
  const tokens = DATASETS.some((one) => one.positions);
  segments(byId("layouts"), tokens ? [["model", "by head"], ["tokens", "by token"]] : [], state.layout, (layout) => {
    change({ layout, focus: null, path: null }, true);
  });
  const method = byId("method");
  const names = methodNames();
  method.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  method.value = state.layout === "tokens" ? "top" : state.method;
  method.disabled = names.length < 2 || state.layout === "tokens";
  for (const one of byId("signed").children) {
    const signed = one.dataset.signed === "1";
    one.setAttribute("aria-pressed", String(signed === state.signed));
    one.disabled = !DATASETS.some((each) => each.selections.some((selection) => selection.signed === signed));
  }
  byId("slider").value = sliderValue(state.size);
  byId("slider").setAttribute("aria-valuetext", count(state.size, UNIT));
  byId("number").value = state.size;
  byId("number").max = largest();
  byId("connected").checked = state.connected;
  byId("connected").disabled = state.layout === "tokens";
  const kinds = GRAPH.summed_qkv ? ["heads", "mlp", "logits"] : ["q", "k", "v", "mlp", "logits"];
  byId("slots").replaceChildren("Edges into ", ...kinds.filter((kind) => kind !== "mlp" || GRAPH.has_mlp).map((kind) => {
    const box = element("input", { type: "checkbox", value: kind, onchange: () => toggleSlot(kind) });
    box.checked = !state.hidden.includes(kind);
    return element("label", {}, box, kind === "mlp" ? " MLPs" : ` ${kind}`);
  }));
}

/** The name of a file, or the algorithm that its scores are of. */
function nameOf(dataset) {
  return dataset.name || (typeof dataset.metadata.algorithm === "string" ? dataset.metadata.algorithm : "");
}

function toggleSlot(kind) {
  const hidden = state.hidden.includes(kind) ? state.hidden.filter((one) => one !== kind) : [...state.hidden, kind];
  change({ hidden });
}

function drawCounts() {
  const { view } = scene;
  const total = d3.max(view.datasets, (one) => (state.layout === "tokens" && one.positions ? one.positions.n * one.n : one.n));
  const parts = [`${d3.format(",")(view.selected)} of ${d3.format(",")(total)} ${UNIT}s selected`, `${d3.format(",")(view.edges.length)} shown`];
  if (state.view === "difference") {
    const sorts = d3.rollup(view.edges, (each) => each.length, (one) => one.sort);
    parts.push(...["only-a", "only-b", "both", "changed"].map((sort) => `${d3.format(",")(sorts.get(sort) || 0)} ${SORTS[sort]}`));
  }
  const found = faithfulnessText();
  byId("counts").replaceChildren(parts.join(" · "), ...(found ? [element("b", {}, found)] : []));
}

function drawLegend() {
  const sorts = state.view === "difference" ? ["only-a", "only-b", "both", "changed"]
    : scene.view.edges.length && scene.view.edges.every((one) => one.sort === "plain") ? ["plain"] : ["positive", "negative"];
  const items = sorts.map((sort) => element("span", {}, element("i", { className: `line ${sort}` }), SORTS[sort]));
  const strongest = scene.view.widest;
  if (strongest > 0) {
    items.push(element("span", {}, element("i", { className: "line wide" }), `widest: ${signedNumber(strongest).slice(1)}${unitText()}`));
  }
  byId("legend").replaceChildren(...items);
}

function unitText() {
  const { score_unit: own, metric_unit: metric } = DATASETS[0].metadata;
  const unit = own ?? metric;
  return typeof unit === "string" && unit ? ` ${clipped(unit, 20)}` : "";
}

/** Whether the next node that is clicked is the other end of a path. */
let picking = false;

/** The strongest edges of a list, signed, with bars; each can be clicked. */
function edgeList(title, indices, most, other) {
  const { view } = scene;
  const scored = indices.map((index) => view.edges[index]).filter((one) => Number.isFinite(one.score));
  const sum = scored.length ? ` · sum ${signedNumber(d3.sum(scored, (one) => one.score))}` : "";
  const list = element("ul", { className: view.datasets.length > 1 ? "edges two" : "edges" }, ...indices.slice(0, most).map((index) => {
    const edge = view.edges[index];
    const bar = element("i", { className: `bar ${edge.sort}` });
    bar.style.width = `${(60 * strengthOf(edge)) / (view.widest || 1)}px`;
    const name = other === "from" ? nodeKey(edge.from) : GRAPH.readers[edge.column].name;
    const label = state.names[nodeKey(edge.from)] && other === "from" ? `${name} “${clipped(state.names[nodeKey(edge.from)], 16)}”` : name;
    const target = other === "from" ? nodeKey(edge.from) : nodeKey(edge.to[0]);
    return element("li", {}, button(label, () => focusOn(target), { className: "link", dir: "auto" }),
      element("span", { className: "slot" }, other === "from" && isAttention(edge) ? GRAPH.readers[edge.column].slot : ""),
      element("span", { className: "value" }, numberOf(edge)), bar);
  }));
  const more = indices.length > most ? [element("p", { className: "hint" }, `and ${count(indices.length - most, "more edge")}`)] : [];
  return [element("h3", {}, `${title}: ${d3.format(",")(indices.length)}${sum}`), ...(indices.length ? [list] : []), ...more];
}

function isAttention(edge) {
  return ["q", "k", "v"].includes(GRAPH.readers[edge.column].slot);
}

function numberOf(edge) {
  if (edge.other !== null && Number.isFinite(edge.other) && edge.sort !== "only-b") return `${signedNumber(edge.score)} / ${signedNumber(edge.other)}`;
  return signedNumber(edge.score);
}

function shareText(indices) {
  const parts = indices.map((index) => share(scene.view.edges[index])).filter(Number.isFinite);
  return parts.length ? percentText(d3.sum(parts)) : "";
}

function drawNodePanel() {
  const panel = byId("panel-node");
  const place = state.focus === null ? undefined : scene.layout.places.get(state.focus);
  if (place === undefined) {
    panel.replaceChildren(element("p", { className: "hint" },
      "Point at a node or an edge for its numbers. Click a node to see only what is up- and downstream of it, to name it, pin it or group it; shift-click a second one for the strongest path between them."));
    return;
  }
  const { into, out } = edgesOf(scene, place.key);
  const rename = element("input", { type: "text", id: "rename", maxlength: "200", placeholder: "name it", "aria-label": "Name of this node", dir: "auto", autocomplete: "off" });
  rename.value = place.kind === "group" ? place.group.name : state.names[place.key] || "";
  rename.addEventListener("change", () => nameNode(place.key, rename.value));
  const marked = state.marked.includes(place.key);
  const acts = [
    button(place.pinned ? "Unpin" : "Pin", () => togglePin(place.key), { id: "pin" }),
    ...(place.kind === "group" ? [button("Ungroup", () => ungroup(place.key), { id: "ungroup" })]
      : [button(marked ? "Unmark" : "Mark for a group", () => toggleMark(place.key), { id: "mark" })]),
    button(picking ? "Now click the other end" : "Path to …", () => { picking = !picking; drawNodePanel(); }, { id: "to", "aria-pressed": String(picking) }),
    button("Show all", () => change({ focus: null, path: null }), { id: "release" }),
  ];
  const scored = NODE_LEVEL && place.kind !== "group" && place.node < GRAPH.logits
    ? [element("p", {}, `score ${signedNumber(scene.view.datasets[0].scores[place.node])}${unitText()}`)] : [];
  const shareIn = shareText(into);
  const shareOut = shareText(out);
  const path = state.path !== null ? pathList() : [];
  panel.replaceChildren(
    element("div", { className: "row" }, element("h2", { dir: "auto" }, clipped(shortName(place), 60)), rename),
    element("div", { className: "row acts" }, ...acts), ...scored,
    ...(shareIn || shareOut ? [element("p", { className: "hint" }, `${shareIn || "0%"} of all scores flow in, ${shareOut || "0%"} out`)] : []),
    ...path, ...edgeList("In", into, 50, "from"), ...edgeList("Out", out, 50, "to"),
  );
}

function pathList() {
  const [a, b] = state.path.map(numbersOf);
  const path = a === null || b === null ? [] : strongestPath(scene.view, between(scene.view, a, b));
  const [first, last] = state.path;
  if (!path.length) return [element("p", {}, `No path of seen edges connects ${first} and ${last}.`)];
  return [element("h3", {}, `Strongest path between ${first} and ${last}`),
    element("ol", { className: "path", id: "path" }, ...path.map((index) => element("li", {}, `${seenName(scene.view.edges[index])}  ${numberOf(scene.view.edges[index])}`)))];
}

/** The card beside the pointer, or beside a node that has the keyboard's focus. */
function showTip(content, x, y) {
  const tip = byId("tip");
  tip.replaceChildren(...content);
  tip.hidden = false;
  const { width, height } = stage.getBoundingClientRect();
  const size = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(6, Math.min(x + 16, width - size.width - 6))}px`;
  tip.style.top = `${Math.max(6, Math.min(y + 14, height - size.height - 6))}px`;
}

function hideTip() {
  byId("tip").hidden = true;
  if (scene !== null && scene.hovered) {
    scene.hovered = null;
    requestPaint();
  }
}

function nodeTip(place) {
  const { into, out } = edgesOf(scene, place.key);
  const given = state.names[place.key];
  const total = shareText([...into, ...out]);
  const score = NODE_LEVEL && place.kind !== "group" && place.node < GRAPH.logits ? `score ${signedNumber(scene.view.datasets[0].scores[place.node])} · ` : "";
  const head = element("h2", { dir: "auto" }, clipped(shortName(place), 60), ...(given && place.kind !== "group" ? [element("small", { dir: "auto" }, clipped(given, 60))] : []));
  return [head, element("p", { className: "hint" }, `${score}${total ? `${total} of all scores` : "no seen edge has a score"}`),
    ...edgeList("In", into, 5, "from"), ...edgeList("Out", out, 5, "to")];
}

function edgeTip(one) {
  const edges = one.indices.map((index) => scene.view.edges[index]);
  if (edges.length > 1) {
    return [element("h2", {}, count(edges.length, "edge")), element("p", {}, `sum ${signedNumber(one.score)}`), ...edgeList("Strongest", one.indices, 6, "from")];
  }
  const [edge] = edges;
  const facts = [`score ${numberOf(edge)}${unitText()}`];
  const error = DATASETS.length === 1 && edge.position === null ? DATASETS[0].stderr : null;
  if (error) facts.push(`standard error ±${signedNumber(error[edge.edge]).slice(1)}`);
  if (Number.isFinite(share(edge))) facts.push(`${percentText(share(edge))} of all scores`);
  facts.push(SORTS[edge.sort]);
  if (edge.position !== null) facts.push(`position ${edge.position} ${clipped(tokenText(edge.position), 30)}`);
  return [element("h2", {}, edgeName(edge.edge)), ...facts.map((fact) => element("p", {}, fact))];
}
