"""The built-in algorithms, registered through the hook that any plugin uses.

The code of this folder is sent to servers as source; ``eap_plugin.backend.nnsight.remote.code_shipping`` lists what it
must not use.
"""

from __future__ import annotations

from collections.abc import Callable

from eap_plugin.host import hookimpl


@hookimpl
def register_algorithms(register: Callable[[object], None]) -> None:
    """Register each algorithm of this folder."""
    from eap_plugin.algorithm.activation.activation_magnitude import ActivationMagnitude
    from eap_plugin.algorithm.activation.information_flow_routes import InformationFlowRoutes
    from eap_plugin.algorithm.baseline.random import Random
    from eap_plugin.algorithm.edge_pruning.edge_pruning import EdgePruning
    from eap_plugin.algorithm.gradient.atp_star import AtPStar
    from eap_plugin.algorithm.gradient.clean_corrupted import CleanCorrupted
    from eap_plugin.algorithm.gradient.eap import EAP
    from eap_plugin.algorithm.gradient.eap_gp import EAPGP
    from eap_plugin.algorithm.gradient.eap_ig_activations import EAPIGActivations
    from eap_plugin.algorithm.gradient.eap_ig_inputs import EAPIGInputs
    from eap_plugin.algorithm.gradient.gim import GIM
    from eap_plugin.algorithm.gradient.mask_gradient import MaskGradient
    from eap_plugin.algorithm.gradient.relp import RelP
    from eap_plugin.algorithm.patching.acdc import ACDC
    from eap_plugin.algorithm.patching.exact import Exact

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
