"""A circuit's edges as a model can run them: with separate q, k and v readers, and groups split only if need be."""

from __future__ import annotations

from dataclasses import replace

import torch

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.evaluation.program import PatchedRun
from eap_plugin.errors import UsageError
from eap_plugin.model.edge_matrix import summed_columns, ungroup_columns, ungrouped
from eap_plugin.model.residual_model import ResidualModel


def fitted(model: ResidualModel, circuit: Circuit, complement: bool) -> PatchedRun:
    """Return a run of a circuit.

    A reader of summed q, k and v inputs stands for all of them. Of a circuit with one k and one v reader for each query
    head, the readers of a group are joined if they have the same edges; otherwise the group is split in the run.

    Raises:
        UsageError: if the circuit is not one of this model's, or a group must be split and the model cannot run copies
            of its prompts.
    """
    graph, edges = circuit.graph, circuit.edges.cpu()
    if graph.summed_qkv:
        graph = replace(graph, summed_qkv=False)
        edges = edges[:, summed_columns(graph)]
    if graph == ungrouped(model.graph) and graph != model.graph:
        columns = torch.tensor(ungroup_columns(model.graph))
        firsts = [int((columns == column).nonzero()[0]) for column in range(len(model.graph.readers))]
        joined = edges[:, firsts]
        if torch.equal(joined[:, columns], edges):
            graph, edges = model.graph, joined
        elif model.run_constraints.whole_batches:
            raise UsageError(
                f"the circuit has different edges into the k or v readers of one group, for which {model.name} would "
                f"have to run several copies of its prompts; it can only run whole batches"
            )
    elif graph != model.graph:
        raise UsageError(f"the circuit has another graph than {model.name}: {circuit.graph}; expected {model.graph}")
    return PatchedRun(graph, edges, None if circuit.neurons is None else circuit.neurons.cpu(), complement)
