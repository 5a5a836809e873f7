// What a person chose and arranged: kept in the URL's fragment and in saved copies.

const FRAGMENT = "#view=";

const DEFAULTS = {
  view: DATASETS.length > 1 ? "difference" : "A",
  layout: "model", method: "", signed: false, size: 0, connected: true, hidden: [],
  focus: null, path: null, marked: [], pins: {}, names: {}, groups: [], theme: "auto",
};

function startingState() {
  const first = DATASETS[0];
  if (first === undefined) return { ...DEFAULTS };
  const circuit = DATASETS.every((one) => one.kind === "circuit");
  const usual = circuit ? Math.min(largestOf(), 2000) : Math.min(largestOf(), largestOf() > 500 ? 100 : 40);
  return { ...DEFAULTS, method: first.selections[0].method, size: usual, connected: !circuit };
}

/** From few edges on, the first size at which enough of them connect input to logits for something to be seen. */
function enlargeStart() {
  if (!state.connected || NODE_LEVEL) return;
  const few = Math.min(20, state.size / 2);
  const seen = () => keepConnected(selectedItems(DATASETS[0], START.size)).length;
  while (seen() < few && START.size < Math.min(largestOf(), 4000)) START.size = Math.min(largestOf(), START.size * 2);
  state.size = START.size;
}

function largestOf() {
  return Math.max(...DATASETS.map((one) => one.n));
}

const START = startingState();
const state = { ...START };

function plainObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function texts(value) {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}

/** Take over what was kept, if it has the expected form; a fragment may come from anywhere. */
function restore(kept) {
  if (!plainObject(kept)) return;
  for (const name of ["view", "layout", "method", "theme"]) {
    if (typeof kept[name] === "string") state[name] = kept[name];
  }
  for (const name of ["signed", "connected"]) if (typeof kept[name] === "boolean") state[name] = kept[name];
  if (Number.isFinite(kept.size)) state.size = Math.max(0, Math.round(kept.size));
  for (const name of ["focus"]) if (typeof kept[name] === "string") state[name] = kept[name];
  if (texts(kept.path).length === 2) state.path = texts(kept.path);
  for (const name of ["hidden", "marked"]) if (name in kept) state[name] = texts(kept[name]);
  if (plainObject(kept.names)) {
    state.names = Object.fromEntries(Object.entries(kept.names).filter(([, name]) => typeof name === "string"));
  }
  if (plainObject(kept.pins)) {
    const places = Object.entries(kept.pins).filter(([, at]) => Array.isArray(at) && at.length === 2 && at.every(Number.isFinite));
    state.pins = Object.fromEntries(places);
  }
  if (Array.isArray(kept.groups)) {
    state.groups = kept.groups
      .filter((one) => plainObject(one) && typeof one.id === "string" && typeof one.name === "string")
      .map((one) => ({ id: one.id, name: one.name, members: texts(one.members) }));
  }
  if (!["auto", "light", "dark"].includes(state.theme)) state.theme = "auto";
  if (!DATASETS.some((one) => one.letter === state.view) && !(state.view === "difference" && DATASETS.length > 1)) {
    state.view = START.view;
  }
  if (state.layout !== "tokens" || !DATASETS.some((one) => one.positions)) state.layout = "model";
  if (!DATASETS.some((one) => one.selections.some((each) => each.method === state.method))) state.method = START.method;
}

/** What differs from the start, as plain values. */
function arranged() {
  return Object.fromEntries(
    Object.entries(state).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(START[name])),
  );
}

function fromFragment() {
  if (!location.hash.startsWith(FRAGMENT)) return null;
  try {
    return JSON.parse(decodeURIComponent(location.hash.slice(FRAGMENT.length)));
  } catch {
    return null;
  }
}

let keeping = 0;

/** Write the fragment a moment after the last change; within a sandboxed frame, browsers may refuse it. */
function keep() {
  clearTimeout(keeping);
  keeping = setTimeout(() => {
    const kept = arranged();
    const fragment = Object.keys(kept).length ? FRAGMENT + encodeURIComponent(JSON.stringify(kept)) : " ";
    try {
      history.replaceState(null, "", fragment === " " ? location.pathname + location.search : fragment);
    } catch {
      return;
    }
  }, 150);
}
