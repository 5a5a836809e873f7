"""Finding weights that are NaN, which make everything that a model computes NaN."""

from __future__ import annotations

import re

from eap_plugin.model.residual_model import ResidualModel


def nan_weights(model: ResidualModel) -> str:
    """Return a phrase with the first parameter that holds NaN, and its layer; empty if there is none."""
    for root in model.modules():
        for name, weight in root.named_parameters():
            if weight.is_floating_point() and not weight.is_meta and bool(weight.isnan().any()):
                layer = re.search(r"(?:^|\.)(\d+)\.", name)
                where = f"weights of layer {layer[1]}" if layer else "weights"
                plain = name.replace("_original_component.", "")  # TransformerBridge's wrappers
                return f"{where} hold NaN ({plain}): the model's files are damaged"
    return ""
