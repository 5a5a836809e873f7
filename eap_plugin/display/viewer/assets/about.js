// Where the scores come from: the prompts, the metric, the self-check, and everything that the file records.

const SHOWN_APART = ["examples", "tokens", "versions", "provenance", "options", "selection", "found", "task_source", "parts"];

function drawAbout() {
  const panel = byId("panel-about");
  if (panel.hidden) return;
  const parts = DATASETS.flatMap((dataset) => [
    element("h2", { dir: "auto" }, DATASETS.length > 1 ? `${dataset.letter} · ${clipped(nameOf(dataset), 60)}` : clipped(dataset.name || "Scores", 60)),
    ...examples(dataset.metadata), ...recorded(dataset.metadata),
  ]);
  const measured = DATA.evaluations.flatMap((one) => [element("h2", {}, "Evaluation"), ...areas(one), ...recorded(one.metadata)]);
  const made = element("p", { className: "hint" }, "Made by eap-plugin. Drawn with D3 7, © Mike Bostock, ISC licence.");
  panel.replaceChildren(...parts, ...measured, made);
}

/** A few prompts, token by token; where clean and corrupt differ, the tokens are marked. */
function examples(metadata) {
  const given = Array.isArray(metadata.examples) ? metadata.examples.slice(0, 5) : [];
  if (!given.length) return [element("p", { className: "hint" }, "The file has no example prompts.")];
  return [element("h3", {}, "Prompts"), ...given.map((one) => {
    const clean = texts(one.clean);
    const corrupt = texts(one.corrupt);
    const line = (label, tokens, others) => element("p", { className: "prompt" }, element("small", {}, label),
      ...tokens.map((token, i) => (token === others[i] ? element("span", {}, token) : element("mark", {}, token))));
    const answers = element("p", { className: "prompt" }, element("small", {}, "answers"), element("b", {}, texts(one.answers).join(" | ")),
      ...(texts(one.wrong_answers).length ? [element("span", { className: "hint" }, `  not ${texts(one.wrong_answers).slice(0, 5).join(" | ")}`)] : []));
    return element("div", { className: "example", dir: "auto" }, line("clean", clean, corrupt), line("corrupt", corrupt, clean), answers);
  })];
}

function recorded(metadata) {
  const facts = [];
  const add = (label, value) => {
    if (value === null || value === undefined || value === "") return;
    if (plainObject(value)) Object.entries(value).forEach(([name, each]) => add(`${label} ${name}`, each));
    else facts.push([label.replaceAll("_", " "), Array.isArray(value) ? value.map((one) => (plainObject(one) ? JSON.stringify(one) : String(one))).join(", ") : String(value)]);
  };
  Object.entries(metadata).filter(([name]) => !SHOWN_APART.includes(name)).forEach(([name, value]) => add(name, value));
  if (metadata.versions && metadata.versions["eap-plugin"]) facts.push(["self-check", "passed: without it, no scores are given out"]);
  SHOWN_APART.filter((name) => name !== "examples" && name !== "tokens").forEach((name) => add(name, metadata[name]));
  return [element("dl", {}, ...facts.flatMap(([label, value]) => [element("dt", {}, clipped(label, 80)), element("dd", { dir: "auto" }, clipped(value, 600))]))];
}

function areas(one) {
  const facts = [["CPR", one.cpr], ["CMD", one.cmd]].filter(([, value]) => value !== null).map(([name, value]) => `${name} ${value.toFixed(4)}`);
  const tests = one.tests.map((test) => element("p", {}, `${test.name}: ${test.passed ? "passed" : "not passed"}. ${test.sentence}`));
  return [...(facts.length ? [element("p", {}, facts.join(", "))] : []), ...tests];
}

function titles() {
  const about = (DATASETS[0] || { metadata: DATA.evaluations[0].metadata }).metadata;
  const named = DATASETS.map((one) => one.name).filter(Boolean);
  const told = ["algorithm", "model", "task"].map((name) => about[name]).filter((value) => typeof value === "string" && value);
  const title = DATA.title || (DATASETS.length > 1 ? named.join(" and ") : "") || (told.length === 3 ? `${told[0]} on ${told[1]}, ${told[2]}` : told.join(", ")) || named[0] || "Circuit";
  const prompts = Number.isFinite(about.n_prompts) ? count(about.n_prompts, "prompt pair") : "";
  const size = GRAPH === null ? "" : `${count(GRAPH.n_layers, "layer")}, ${count(GRAPH.n_heads, "head")} each, ${count(GRAPH.nEdges, "edge")}`;
  const subtitle = [typeof about.metric === "string" ? about.metric : "", prompts, size].filter(Boolean).join(" · ");
  byId("title").textContent = clipped(title, 160);
  byId("title").title = clipped(title, 400);
  byId("subtitle").textContent = clipped(subtitle, 200);
  document.title = clipped(title, 100);
}
