"""The built-in algorithms, registered through the hook that any plugin uses."""

from __future__ import annotations

from collections.abc import Callable

from eap_plugin.host import hookimpl


@hookimpl
def register_algorithms(register: Callable[[object], None]) -> None:
    """Register each algorithm of this folder."""
    from eap_plugin.algorithm.acdc import ACDC
    from eap_plugin.algorithm.activation_magnitude import ActivationMagnitude
    from eap_plugin.algorithm.atp_star import AtPStar
    from eap_plugin.algorithm.clean_corrupted import CleanCorrupted
    from eap_plugin.algorithm.eap import EAP
    from eap_plugin.algorithm.eap_gp import EAPGP
    from eap_plugin.algorithm.eap_ig_activations import EAPIGActivations
    from eap_plugin.algorithm.eap_ig_inputs import EAPIGInputs
    from eap_plugin.algorithm.edge_pruning import EdgePruning
    from eap_plugin.algorithm.exact import Exact
    from eap_plugin.algorithm.gim import GIM
    from eap_plugin.algorithm.information_flow_routes import InformationFlowRoutes
    from eap_plugin.algorithm.mask_gradient import MaskGradient
    from eap_plugin.algorithm.random import Random
    from eap_plugin.algorithm.relp import RelP

    register(AtPStar())
    register(EAP())
    register(EAPIGInputs())
    register(EAPIGActivations())
    register(CleanCorrupted())
    register(MaskGradient())
    register(EAPGP())
    register(ActivationMagnitude())
    register(GIM())
    register(RelP())
    register(Exact())
    register(ACDC())
    register(InformationFlowRoutes())
    register(EdgePruning())
    register(Random())
