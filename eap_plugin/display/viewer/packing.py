"""Tensors and metadata in the form in which a page holds them: compact, and free of anything that HTML would read."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.files import plain


def packed_scores(values: Float[Tensor, "*axes"]) -> str:
    """Return scores as base64 of little-endian float32."""
    return _base64(values.detach().cpu().to(torch.float32).numpy().astype("<f4"))


def packed_indices(values: Int[Tensor, "n"], total: int) -> str:
    """Return indices below ``total`` as base64 of little-endian uint16, or of uint32 if that is too small."""
    return _base64(values.cpu().numpy().astype("<u2" if total <= 1 << 16 else "<u4"))


def script_json(document: Any) -> str:
    """Return a document as JSON for a ``<script>`` element: in ASCII, without ``<``, ``>`` and ``&``, and no NaN."""
    text = json.dumps(plain(document), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _base64(values: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
