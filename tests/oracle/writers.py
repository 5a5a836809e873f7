"""What each writer adds to the residual stream in one run, checked against what the readers find there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tests.oracle.layout import Layout


@dataclass(frozen=True)
class Run:
    """One forward pass.

    Attributes:
        written: what each writer (``input``, ``a0.h1``, ``m0``) adds to the stream, [batch, pos, d_model].
        read: the stream, [batch, pos, d_model], at ``a0`` (layer 0's q, k and v), ``m0``, …, ``logits``.
        feeding: for each place in ``read``, the writers before it.
    """

    written: dict[str, Tensor] = field(default_factory=dict)
    read: dict[str, Tensor] = field(default_factory=dict)
    feeding: dict[str, tuple[str, ...]] = field(default_factory=dict)


@torch.no_grad()
def observe(model: Any, layout: Layout, tokens: Tensor) -> Run:
    """``observe_with_gradients`` without gradients."""
    return observe_with_gradients(model, layout, tokens)


def observe_with_gradients(model: Any, layout: Layout, tokens: Tensor) -> Run:
    """Run the model on ``tokens`` [batch, pos] and take the residual stream apart.

    Raises:
        AssertionError: if the writers before some reader, with the biases, do not add up to what it reads.
    """
    n_layers = len(model.get_submodule(layout.layers))
    seen = watch(model, layout, tokens)
    run = Run(read={name: seen[name] for name in seen if not name.endswith((".z", ".out"))})
    run.written["input"] = seen["a0"]
    biases = torch.zeros_like(seen["a0"])
    for layer in range(n_layers):
        _arrive(run, f"a{layer}", biases)
        if layout.parallel:
            _arrive(run, f"m{layer}", biases)
        heads, bias = _heads(model, layout, layer, seen[f"{layer}.z"])
        run.written.update({f"a{layer}.h{h}": head for h, head in enumerate(heads)})
        biases = biases + bias
        if not layout.parallel:
            _arrive(run, f"m{layer}", biases)
        mlp = layout.part(model, layer, layout.mlp_post_norm)(seen[f"{layer}.out"])
        run.written[f"m{layer}"] = mlp * layout.residual_multiplier
    _arrive(run, "logits", biases)
    return run


def watch(model: Any, layout: Layout, tokens: Tensor) -> dict[str, Tensor]:
    """Record the inputs of layers, output projections, MLP norms and the final norm, and the outputs of MLPs."""
    seen: dict[str, Tensor] = {}

    def keep_input(name: str) -> Callable[..., None]:
        return lambda module, args: seen.__setitem__(name, args[0].clone())

    def keep_output(name: str) -> Callable[..., None]:
        return lambda module, args, output: seen.__setitem__(name, first(output).clone())

    handles = [model.get_submodule(layout.final_norm).register_forward_pre_hook(keep_input("logits"))]
    for layer in range(len(model.get_submodule(layout.layers))):

        def at(path: str, layer: int = layer) -> nn.Module:
            return layout.part(model, layer, path)

        block = model.get_submodule(f"{layout.layers}.{layer}")
        handles += [
            block.register_forward_pre_hook(keep_input(f"a{layer}")),
            at(layout.o).register_forward_pre_hook(keep_input(f"{layer}.z")),
            at(layout.mlp_norm or layout.mlp_in).register_forward_pre_hook(keep_input(f"m{layer}"), prepend=True),
            at(layout.mlp_out).register_forward_hook(keep_output(f"{layer}.out")),
        ]
    try:
        model(tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    shape = seen["logits"].shape
    return {name: value if name.endswith(".z") else value.reshape(shape) for name, value in seen.items()}


def first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return a module's output, or the first of several."""
    return output[0] if isinstance(output, tuple) else output


def _heads(model: Any, layout: Layout, layer: int, z: Tensor) -> tuple[list[Tensor], Tensor]:
    """Compute what each head adds to the residual stream, and what the output projection's bias adds.

    A norm after the projection is applied with the statistics of this run: as it has no bias and does not
    centre, it multiplies each element by some number, which is what came out over what went in. The model's
    residual multiplier multiplies, too.
    """
    project = layout.part(model, layer, layout.o)
    whole, bias = project(z), project(torch.zeros_like(z))
    some = torch.where(whole == 0, 1e-30, whole)  # a norm multiplies what is zero, too
    scale = layout.part(model, layer, layout.attn_post_norm)(some) / some if layout.attn_post_norm else 1.0
    scale = scale * layout.residual_multiplier
    per_head = torch.unflatten(z, -1, (len(layout.heads["q"]), -1))
    heads = []
    for h in range(per_head.shape[-2]):
        alone = torch.zeros_like(per_head)
        alone[..., h, :] = per_head[..., h, :]
        heads.append((project(alone.flatten(-2)) - bias) * scale)
    return heads, bias * scale


def _arrive(run: Run, place: str, biases: Tensor) -> None:
    """Note the writers so far as those that feed ``place``; they must add up to what is read there."""
    found = run.read[place]
    torch.testing.assert_close(
        sum(run.written.values(), start=biases),
        found,
        rtol=1e-4,
        atol=1e-4 * found.abs().max().item(),
        msg=lambda detail: f"the writers before {place} do not add up to what it reads: {detail}",
    )
    run.feeding[place] = tuple(run.written)
