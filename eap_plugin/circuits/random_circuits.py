"""Random circuits of the same size as a given one, to compare it with."""

from __future__ import annotations

import torch

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.model.edge_matrix import edge_mask


def random_circuit(circuit: Circuit, seed: int) -> Circuit:
    """Return a circuit of as many edges, drawn without replacement; of a circuit of neurons, of as many neurons.

    Circuits of one size and seed are the same. A circuit of nodes is compared with circuits of as many edges.
    """
    generator = torch.Generator().manual_seed(seed)
    allowed = edge_mask(circuit.graph)
    if circuit.neurons is None:
        places = allowed.flatten().nonzero().flatten()
        edges = torch.zeros(allowed.numel(), dtype=torch.bool)
        edges[places[torch.randperm(len(places), generator=generator)[: circuit.n_edges]]] = True
        return Circuit(circuit.graph, edges.view(allowed.shape))
    kept = circuit.neurons & circuit.edges.any(1, keepdim=True)
    neurons = torch.zeros(kept.numel(), dtype=torch.bool)
    neurons[torch.randperm(kept.numel(), generator=generator)[: int(kept.sum())]] = True
    neurons = neurons.view(kept.shape)
    return Circuit(circuit.graph, allowed & neurons.any(1, keepdim=True), neurons)
