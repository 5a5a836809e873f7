"""A model of what scoring costs: operations and memory, from the numbers of layers, heads, widths and tokens.

For T tokens of prompts of n positions, in operations (a multiplication and an addition are two):

    forward pass          2 · T · (weights of the blocks) + 4 · T · n · layers · heads · d_head
    backward pass         the same, since weights are frozen and only activations have gradients
    products of edges     2 · T · d_model · edges, for each backward pass
    expansion of heads    2 · T · d_model · d_head · (q, k and v readers + heads), likewise

The unembedding is left out, as it is applied at one position of each prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from eap_plugin.algorithm.base import Cost
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that its cost depends on.

    Attributes:
        graph: its writers, readers and edges.
        d_model: the width of the residual stream.
        d_head: the width of a head.
        block_weights: the number of weights that a token meets in all blocks; of a mixture, those of all experts.
        n_weights: the number of all weights.
    """

    graph: Graph
    d_model: int
    d_head: int
    block_weights: int
    n_weights: int


@dataclass(frozen=True)
class Operations:
    """The floating-point operations of one forward pass, one backward pass, and the scores of one backward pass."""

    forward: float
    backward: float
    scoring: float

    def total(self, cost: Cost) -> float:
        """Return the operations of a run with this number of passes."""
        return cost.forwards * self.forward + cost.backwards * (self.backward + self.scoring)


def operations(shape: Shape, n_prompts: int, n_pos: int) -> Operations:
    """Return the operations for ``n_prompts`` prompts of ``n_pos`` positions."""
    graph, n_tokens = shape.graph, n_prompts * n_pos
    attention = 4.0 * n_pos * graph.n_layers * graph.n_heads * shape.d_head
    one_way = n_tokens * (2.0 * shape.block_weights + attention)
    heads = graph.n_layers * (2 * graph.n_heads + 2 * graph.n_kv_heads)
    scoring = 2.0 * n_tokens * shape.d_model * (graph.n_edges + heads * shape.d_head)
    return Operations(one_way, one_way, scoring)


def decoder_shape(
    *, n_layers: int, n_heads: int, n_kv_heads: int, d_model: int, d_head: int, d_mlp: int, n_vocab: int
) -> Shape:
    """Return the shape of a decoder with gated MLPs, as Llama is, without loading it."""
    graph = Graph(n_layers, n_heads, n_kv_heads, parallel=False, has_mlp=True)
    block = 2 * d_model * d_head * (n_heads + n_kv_heads) + 3 * d_model * d_mlp
    return Shape(graph, d_model, d_head, n_layers * block, n_layers * block + 2 * n_vocab * d_model)


def shape_of(model: ResidualModel) -> Shape:
    """Return the shape of a model."""
    _, d_head, d_model = model.layers[0].W_O.shape
    counts = {
        id(p): (p.numel(), model.n_vocab in p.shape) for module in model.modules() for p in nn.Module.parameters(module)
    }
    n_weights = sum(count for count, _ in counts.values())
    vocabulary = sum(count for count, of_vocabulary in counts.values() if of_vocabulary)
    return Shape(model.graph, d_model, d_head, n_weights - vocabulary, n_weights)
