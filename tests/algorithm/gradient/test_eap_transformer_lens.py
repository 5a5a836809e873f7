"""TransformerLens by its own means: attribution patching of its own, and its hooks under the names given here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

import eap_plugin
from eap_plugin.data.batch import Batch
from eap_plugin.integrations.transformer_lens import from_attribution_patch
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

EDGES = EdgeAttributionConfig(granularity="edge")
ONE_ANSWER = (torch.tensor([[5]]).expand(3, 1), torch.tensor([[9]]).expand(3, 1))


def logit_diff(logits: Tensor) -> Tensor:
    """Compute the logit difference of the answers shared by all prompts: TransformerLens' metric sees one at a time."""
    return logits[0, -1, 5] - logits[0, -1, 9]


def _setting(name: str, dtype: torch.dtype) -> tuple[Any, Batch]:
    clean, corrupt, _, _ = prompts(3, 5)
    return bridge(build(name, dtype)), Batch(clean, corrupt, *ONE_ANSWER)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["32", "64"])
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "gpt_neox_sequential"])
def test_attribution_patch(
    name: str, dtype: torch.dtype, limit: float, record_property: Callable[[str, str], None]
) -> None:
    """Swapped, it is ``eap``; as it is, it is minus ``eap`` of the swapped prompts, the other sign being its own."""
    model, batch = _setting(name, dtype)
    graph = eap_plugin.wrap_model(model).graph
    swapped_batch = Batch(batch.corrupt, batch.clean, batch.answers, batch.wrong_answers)
    with InFloat64() if dtype == torch.float64 else nullcontext():
        swapped = attribution_patch(model, batch.corrupt, batch.clean, logit_diff, EDGES)
        plain = attribution_patch(model, batch.clean, batch.corrupt, logit_diff, EDGES)
        eap = eap_plugin.prune_scores(model, [batch], positions=True)
        eap_swapped = eap_plugin.prune_scores(model, [swapped_batch], positions=True)
    error = _error(from_attribution_patch(swapped, graph, swapped=True), eap)
    record_property("TransformerLens attribution_patch, swapped", f"{error:.1e}")
    assert error <= limit
    restored = from_attribution_patch(plain, graph)
    assert _error(restored, -eap_swapped) <= limit
    assert restored.metadata["gradient_run"] == "corrupt"
    total = from_attribution_patch(swapped, graph, swapped=True).sum_positions()
    assert _error(total, eap_plugin.prune_scores(model, [batch])) <= max(limit, 1e-5)


def test_refusals() -> None:
    model, batch = _setting("gpt2", torch.float32)
    nodes = attribution_patch(model, batch.clean, batch.corrupt, logit_diff)
    graph = eap_plugin.wrap_model(model).graph
    with pytest.raises(eap_plugin.UsageError, match="has no edge scores; call attribution_patch with config="):
        from_attribution_patch(nodes, graph)
    edges = attribution_patch(model, batch.clean, batch.corrupt, logit_diff, EDGES)
    with pytest.raises(eap_plugin.UsageError, match="give the graph of the same model"):
        from_attribution_patch(edges, eap_plugin.Graph(3, 4, 4))


def test_hook_names_are_where_the_scores_come_from() -> None:
    """Every edge's score by hand: what is seen at the writer's hook, times the gradient at the reader's."""
    model, batch = _setting("gpt2", torch.float64)
    scores = eap_plugin.prune_scores(model, [batch])
    graph = scores.graph
    for flag in ("attn_result", "split_qkv_input", "hook_mlp_in"):
        getattr(model, f"set_use_{flag}")(True)
    seen: dict[str, Tensor] = {}

    def keep(value: Tensor, hook: Any, name: str) -> Tensor:
        seen[name] = value.view_as(value)  # of its own, so that its gradient is of what reads it here
        return seen[name]

    names = {graph.hook_name(source).name for source in graph.sources} | set(graph.modules)
    hooks = [(name, partial(keep, name=name)) for name in names]
    model.run_with_hooks(batch.corrupt, fwd_hooks=hooks)
    corrupt = dict(seen)
    logits = model.run_with_hooks(batch.clean, fwd_hooks=hooks)
    loss = -(logits[:, -1, 5] - logits[:, -1, 9]).mean()
    gradients = dict(zip(graph.modules, torch.autograd.grad(loss, [seen[m] for m in graph.modules]), strict=True))
    for edge in scores.top(graph.n_edges):
        hook, target = graph.hook_name(edge.source), graph.hook_name(edge.reader, reader=True)
        change, gradient = (corrupt[hook.name] - seen[hook.name]), gradients[target.name]
        change = change if hook.head is None else change[:, :, hook.head]
        gradient = gradient if target.head is None else gradient[:, :, target.head]
        assert edge.score == pytest.approx(float((change * gradient).detach().sum()), abs=1e-12), edge.name


def _error(found: eap_plugin.PruneScores, want: eap_plugin.PruneScores) -> float:
    return float((found.matrix - want.matrix).abs().max() / want.matrix.abs().max())
