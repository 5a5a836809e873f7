// What a person arranges: places, names, and groups of nodes that are drawn as one.

function nameNode(key, text) {
  const name = text.trim().slice(0, 200);
  if (state.groups.some((one) => one.id === key)) {
    change({ groups: state.groups.map((one) => (one.id === key ? { ...one, name: name || one.id } : one)) });
    return;
  }
  const names = { ...state.names };
  if (name) names[key] = name;
  else delete names[key];
  change({ names });
}

/** Keep a node where it is, or give its place back to the layout. */
function togglePin(key) {
  const pins = { ...state.pins };
  const place = scene.layout.places.get(key);
  if (key in pins) delete pins[key];
  else if (place !== undefined) pins[key] = [place.x, place.y];
  change({ pins });
}

function moveNode(key, x, y) {
  change({ pins: { ...state.pins, [key]: [Math.round(x), Math.round(y)] } });
}

function toggleMark(key) {
  change({ marked: state.marked.includes(key) ? state.marked.filter((one) => one !== key) : [...state.marked, key] });
}

/** Make one node of those that are marked. */
function groupMarked() {
  const members = state.marked.filter((key) => scene.layout.places.has(key) && scene.layout.places.get(key).kind !== "group");
  if (members.length < 2) return;
  const taken = new Set(state.groups.map((one) => one.id));
  const id = d3.range(1, 1000).map((n) => `group ${n}`).find((one) => !taken.has(one));
  const groups = state.groups.map((one) => ({ ...one, members: one.members.filter((key) => !members.includes(key)) }))
    .filter((one) => one.members.length > 1);
  change({ groups: [...groups, { id, name: id, members }], marked: [], focus: id, path: null });
  openTab("node");
}

function ungroup(id) {
  const pins = { ...state.pins };
  delete pins[id];
  change({ groups: state.groups.filter((one) => one.id !== id), pins, focus: null, path: null });
}

function drawGroups() {
  const panel = byId("panel-groups");
  if (panel.hidden) return;
  const item = (key, text, act, label) => element("li", {}, button(clipped(text, 60), () => focusOn(key), { className: "link", dir: "auto" }), button(act[0], act[1], { className: "small", "aria-label": label }));
  const section = (title, items, none) => [element("h3", {}, title), items.length ? element("ul", { className: "things" }, ...items) : element("p", { className: "hint" }, none)];
  panel.replaceChildren(
    ...section("Marked", state.marked.map((key) => item(key, key, ["Unmark", () => toggleMark(key)], `Unmark ${key}`)), "Mark nodes with control-click, or with M on the keyboard, to group them."),
    button(`Group ${count(state.marked.length, "marked node")}`, groupMarked, { id: "group", disabled: state.marked.length < 2 }),
    ...section("Groups", state.groups.map((one) => item(one.id, `${one.name}: ${one.members.join(", ")}`, ["Ungroup", () => ungroup(one.id)], `Ungroup ${one.name}`)), "None."),
    ...section("Named", Object.entries(state.names).map(([key, name]) => item(key, `${key}: ${name}`, ["Remove", () => nameNode(key, "")], `Remove the name of ${key}`)), "None. Click a node, and type its name."),
    ...section("Pinned", Object.keys(state.pins).map((key) => item(key, key, ["Unpin", () => togglePin(key)], `Unpin ${key}`)), "None. Drag a node to where it is to stay."),
    button("Reset everything", () => change({ ...START }, true), { id: "reset" }),
  );
}
