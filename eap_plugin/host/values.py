"""Values of options: conversion of Python values, or of text from the command line, to an option's type.

The supported types are ``bool``, ``int``, ``float``, ``str``, ``None``, ``Literal[...]`` and unions of these.
"""

from __future__ import annotations

import math
from contextlib import suppress
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

YES = ("true", "yes", "1")
NO = ("false", "no", "0")
WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    NoneType: "none",
}


def parse_bool(text: str) -> bool:
    """Parse true or false from text, in any case; raises ValueError for anything else."""
    word = text.strip().lower()
    if word not in YES + NO:
        raise ValueError(f"expected one of {', '.join(YES + NO)}, got {text!r}")
    return word in YES


def convert(value: object, accepted: Any) -> Any:
    """Convert ``value`` to the type ``accepted``, parsing it if it is text.

    Of a union, ``None`` is tried first and then the members in the order they are written.

    Raises:
        ValueError: if it is not a value of that type.
    """
    if get_origin(accepted) is Literal:
        return _choose(value, get_args(accepted))
    if get_origin(accepted) in (Union, UnionType):
        for member in sorted(get_args(accepted), key=lambda member: member is not NoneType):
            with suppress(ValueError):
                return convert(value, member)
        raise ValueError(value)
    return _from_text(value, accepted) if isinstance(value, str) else _from_python(value, accepted)


def narrow(accepted: Any, choices: tuple[object, ...]) -> Any:
    """Return the type that accepts only ``choices``, and ``None`` if ``accepted`` does."""
    literal: Any = Literal.__getitem__(choices)
    return literal | None if NoneType in get_args(accepted) else literal


def expected(accepted: Any) -> str:
    """Describe in words what a type accepts, such as "a whole number or none".

    Raises:
        TypeError: if the type is not supported.
    """
    if get_origin(accepted) is Literal:
        return f"one of {', '.join(map(str, get_args(accepted)))}"
    if get_origin(accepted) in (Union, UnionType):
        return " or ".join(map(expected, _members(accepted)))
    if accepted not in WORDS:
        raise TypeError(f"{accepted} is not bool, int, float, str, None, Literal or a union of these")
    return WORDS[accepted]


def type_name(accepted: Any) -> str:
    """Format a type for a table of options, such as "int | none" or "mean | zero"."""
    if get_origin(accepted) is Literal:
        return " | ".join(map(str, get_args(accepted)))
    if get_origin(accepted) in (Union, UnionType):
        return " | ".join(map(type_name, _members(accepted)))
    return "none" if accepted is NoneType else str(accepted.__name__)


def _choose(value: object, choices: tuple[object, ...]) -> object:
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    for choice in choices:
        if isinstance(value, str) and value == str(choice):
            return choice
    raise ValueError(value)


def _members(union: Any) -> list[Any]:
    """Return the members of a union in the order they are written, but ``None`` last."""
    return sorted(get_args(union), key=lambda member: member is NoneType)


def _from_text(text: str, accepted: Any) -> object:
    if accepted is str:
        return text
    if accepted is bool:
        return parse_bool(text)
    if accepted is NoneType:
        if text.strip().lower() != "none":
            raise ValueError(text)
        return None
    return _from_python(accepted(text), accepted)


def _from_python(value: object, accepted: Any) -> object:
    if accepted in (bool, NoneType) or isinstance(value, bool):
        if type(value) is not accepted:
            raise ValueError(value)
        return value
    if accepted is int and isinstance(value, Integral):
        return int(value)
    if accepted is float and isinstance(value, Real):
        with suppress(OverflowError):
            if math.isfinite(value):
                return float(value)
    raise ValueError(value)
