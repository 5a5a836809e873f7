"""Encoding of results: the server encodes them as plain values and tensors, and the client rebuilds its classes.

A class that was sent as source is a different class on the server. So its instances are sent back as the name of the
class and the values of its fields.
"""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor

from eap_plugin.errors import EapPluginError


def encode_result(value: Any) -> Any:
    """Encode a value as numbers, strings, tensors on the CPU, and tuples of these; runs on the server.

    Raises:
        EapPluginError: if it contains anything but these, lists, dicts, dataclasses and named tuples.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    kind = f"{type(value).__module__}:{type(value).__qualname__}"
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return kind, {name: encode_result(getattr(value, name)) for name, field in fields.items() if field.init}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return kind, {name: encode_result(getattr(value, name)) for name in value._fields}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [encode_result(item) for item in value]
    if isinstance(value, dict):
        return "dict", [(encode_result(key), encode_result(item)) for key, item in value.items()]
    raise EapPluginError(f"a {kind} cannot be returned from a server; return numbers, tensors and dataclasses")


def decode_result(packed: Any) -> Any:
    """Rebuild an encoded value, with this process's classes."""
    if not isinstance(packed, tuple):
        return packed
    kind, content = packed
    if kind == "dict":
        return {decode_result(key): decode_result(item) for key, item in content}
    if kind in ("list", "tuple"):
        items = [decode_result(item) for item in content]
        return items if kind == "list" else tuple(items)
    module, _, name = kind.partition(":")
    cls: Any = sys.modules[module]
    for part in name.split("."):
        cls = getattr(cls, part)
    return cls(**{name: decode_result(item) for name, item in content.items()})
