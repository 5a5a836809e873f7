// Keys: moving among nodes, and everything that the pointer does.

const KEYS = [
  ["Tab", "to the picture, its controls and the panels"], ["arrow keys", "to the next node in that direction"],
  ["Enter", "only what is up- and downstream of the node; again: everything"], ["Shift + Enter", "the strongest path from the node chosen before"],
  ["M", "mark the node for a group"], ["G", "group the marked nodes"], ["N", "name the node"], ["P", "pin the node, or unpin it"],
  ["[ and ]", "fewer and more edges"], ["/", "search"], ["+, − and 0", "zoom in, out, and fit"], ["Escape", "show everything again"], ["?", "this help"],
];

let standing = null;

/** Exactly one node can be reached with Tab: the one where the keyboard was last. */
function rove() {
  const keys = scene.nodes.map((place) => place.key);
  if (!keys.includes(standing)) standing = keys.includes("input") ? "input" : keys[0];
  world.selectAll("g.node").attr("tabindex", (place) => (place.key === standing ? 0 : -1));
}

function stand(key) {
  standing = key;
  rove();
  const node = world.selectAll("g.node").filter((place) => place.key === key).node();
  if (node !== null) node.focus({ preventScroll: true });
}

/** The nearest node with an edge in a direction; sideways distance counts double. */
function neighbour(key, dx, dy) {
  const here = scene.nodes.find((place) => place.key === key);
  const cost = (place) => {
    const [x, y] = [place.x - here.x, place.y - here.y];
    const along = x * dx + y * dy;
    return along > 1 ? along + 2 * Math.abs(x * dy + y * dx) : Infinity;
  };
  const next = d3.least(scene.nodes.filter((place) => place.active && place.key !== key), cost);
  return next === undefined || cost(next) === Infinity ? null : next.key;
}

function onNodeKey(event, place) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const acts = {
    Enter: () => (event.shiftKey ? pathTo(place.key) : focusOn(state.focus === place.key ? null : place.key)),
    " ": () => toggleMark(place.key), m: () => toggleMark(place.key), g: groupMarked, p: () => togglePin(place.key),
    n: () => { focusOn(place.key); openTab("node"); draw(); byId("rename").focus(); },
  };
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in moves) {
    const next = neighbour(place.key, ...moves[event.key]);
    if (next !== null) stand(next);
  } else if (event.key in acts) acts[event.key]();
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function onPageKey(event) {
  const typing = event.target.closest("input, select, textarea, dialog") !== null;
  if (event.key === "Escape" && !byId("keys").open) {
    if (typing) event.target.blur();
    else change({ focus: null, path: null, marked: [] });
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || GRAPH === null) return;
  const acts = {
    "/": () => byId("search").focus(), "?": openHelp,
    "[": () => step(-1, 40), "]": () => step(1, 40),
    "+": () => svg.call(zoom.scaleBy, 1.3), "-": () => svg.call(zoom.scaleBy, 1 / 1.3), 0: () => fit(250),
  };
  if (event.key in acts) {
    event.preventDefault();
    acts[event.key]();
  }
}

function openHelp() {
  const rows = KEYS.map(([key, what]) => element("tr", {}, element("th", { scope: "row" }, element("kbd", {}, key)), element("td", {}, what)));
  const mouse = "Click a node: only what is up- and downstream of it. Shift-click: the strongest path from the node clicked before. Control-click: mark for a group. Drag: move and pin. Drag the background and scroll: move and zoom.";
  byId("keys").replaceChildren(element("h2", {}, "Help"), element("p", {}, mouse), element("table", {}, element("tbody", {}, ...rows)),
    element("p", { className: "hint" }, "What you choose and arrange is in the address of this page; “Export, Copy of this page” keeps it in a file."),
    button("Close", () => byId("keys").close()));
  byId("keys").showModal();
}
