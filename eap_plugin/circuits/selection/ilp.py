"""The connected circuit of largest total score, by integer linear programming."""

from __future__ import annotations

from dataclasses import dataclass

from eap_plugin.circuits.pruning import connected_nodes, connected_readers
from eap_plugin.circuits.selection.base import Scores, Selected, Selection, best, scored, strength
from eap_plugin.circuits.selection.integer_program import solve
from eap_plugin.errors import EapPluginError
from eap_plugin.host.options import option


@dataclass(frozen=True)
class IlpOptions:
    """Options of ``ilp``."""

    time_limit: float = option(
        60.0, help="The time after which the best circuit found so far is taken.", unit="seconds", minimum=0
    )
    gap: float = option(
        0.0, help="Stop as soon as at most this share of the largest total is missing.", minimum=0, maximum=1
    )


class Ilp(Selection[IlpOptions]):
    """The edges of largest total score of which every node has an edge in and an edge out.

    At most ``size`` edges: fewer only if more would lower the total, as negative scores do if ``signed``. Such a
    circuit has nothing to prune.
    """

    name = "ilp"
    summary = "the largest total score in which each node has an edge in and out"
    reference = "Nikankin et al. 2025, arXiv 2510.06811"
    levels = ("edge",)
    nested = False
    options = IlpOptions

    def select(self, scores: Scores, size: int, signed: bool, options: IlpOptions) -> Selected:
        """Select at most ``size`` edges; see ``Selection.select``.

        Raises:
            EapPluginError: if the solver finds no circuit within the time limit.
        """
        ranked, allowed = strength(scores.matrix.cpu().double(), signed), scored(scores)
        found = solve(scores.graph, ranked, size, options.time_limit, options.gap)
        if found is None or (found.gap and not found.edges.any()):  # the empty circuit is where the solver begins
            raise EapPluginError(
                f"ilp found no circuit within {options.time_limit:g} seconds; raise -O time_limit, or choose greedy"
            )
        nodes = connected_nodes(scores.graph, found.edges)
        free = allowed & nodes[:, None] & connected_readers(scores.graph, nodes) & (ranked >= 0)
        mask = best(ranked, free, size, found.edges)
        return Selected(mask, {"gap": found.gap, "optimal": found.gap == 0})
