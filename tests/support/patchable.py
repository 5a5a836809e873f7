"""AutoCircuit's models and loaders, and the difference of scores from AutoCircuit's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auto_circuit.data import PromptDataLoader, PromptDataset
from auto_circuit.utils.graph_utils import patchable_model
from auto_circuit.utils.patchable_model import PatchableModel
from torch import Tensor
from transformer_lens import HookedTransformer

from tests.support import golden_cases as golden
from tests.support.hooked import hooked_model


def make_patchable(model: HookedTransformer, **made: Any) -> PatchableModel:
    """Make a ``PatchableModel`` with these arguments, of a model with the flags that AutoCircuit needs."""
    made = {"factorized": True, "slice_output": "last_seq", "separate_qkv": True} | made
    flags = {
        "use_attn_result": True,
        "use_hook_mlp_in": True,
        "ungroup_grouped_query_attention": True,
        "use_split_qkv_input": made["separate_qkv"],
        "use_attn_in": not made["separate_qkv"],
    }
    for flag, value in flags.items():
        setattr(model.cfg, flag, value)
    return patchable_model(model, **made)


def patchable(name: str, dtype: str, **made: Any) -> PatchableModel:
    """Load one of the models on which golden outputs were recorded."""
    return make_patchable(hooked_model(name, dtype), **made)


def loader(name: str, prefix: str = "", n_prompts: int = 16, ragged: bool = False) -> PromptDataLoader:
    """Return the model's prompts in batches of eight; if ``ragged``, with different numbers of answers."""
    batch = golden.batches(name, golden.Case(sizes=(n_prompts,), data=prefix))[0]
    answers, wrong = list(batch.answers), list(batch.wrong_answers)
    if ragged:
        answers = [a[: 1 + i % 2] for i, a in enumerate(answers)]
        wrong = [w[: 1 + i % 3] for i, w in enumerate(wrong)]
    data = PromptDataset(batch.clean, batch.corrupt, answers, wrong)
    return PromptDataLoader(data, seq_len=batch.clean.shape[1], diverge_idx=0, batch_size=8, shuffle=False)


def difference(found: Mapping[str, Tensor], want: Mapping[str, Tensor]) -> float:
    """Compute the largest difference over the largest score, after checking names, shapes and dtypes."""
    assert set(found) == set(want)
    for module, expected in want.items():
        assert found[module].shape == expected.shape
        assert found[module].dtype == expected.dtype
    largest = max(float(x.abs().max()) for x in want.values())
    assert largest > 0.01
    return max(float((found[module] - x).abs().max()) for module, x in want.items()) / largest
