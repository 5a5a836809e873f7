"""The kinds of objects that a plugin may register, with their hooks and the attributes they must have."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eap_plugin.errors import EapPluginError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


@dataclass(frozen=True)
class Kind:
    """A kind of object that plugins register.

    Attributes:
        singular: the name of one such object in messages.
        hook: the hook that registers them.
        attributes: the attributes that each must have besides a name.
    """

    singular: str
    hook: str
    attributes: tuple[str, ...]

    def check(self, thing: object) -> str:
        """Check that ``thing`` is of this kind, and return its name.

        Raises:
            EapPluginError: if it is a class, has no usable name, or lacks an attribute.
        """
        if isinstance(thing, type):
            raise EapPluginError(f"register an instance of {thing.__name__}, not the class")
        name = getattr(thing, "name", None)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise EapPluginError(
                f"{_article(self.singular)} must have a .name of letters, digits, '.', '_', '-' and at most one '/'; "
                f"{type(thing).__name__} has {name!r}"
            )
        missing = [attribute for attribute in self.attributes if not hasattr(thing, attribute)]
        if missing:
            raise EapPluginError(f"{self.singular} {name!r} lacks .{', .'.join(missing)}")
        return name


KINDS = {
    "algorithms": Kind("algorithm", "register_algorithms", ("summary", "reference", "options", "cost", "attribute")),
    "backends": Kind("backend", "register_backends", ("summary", "accepts", "wrap", "load")),
    "metrics": Kind("metric", "register_metrics", ("summary", "__call__")),
    "selections": Kind(
        "selection method", "register_selections", ("summary", "reference", "levels", "nested", "options", "select")
    ),
    "score_formats": Kind(
        "score format",
        "register_score_formats",
        ("summary", "suffixes", "holds", "recognizes", "losses", "read", "write"),
    ),
    "tasks": Kind("task", "register_tasks", ("summary", "generate")),
    "formats": Kind("format", "register_formats", ("summary", "suffixes", "read")),
}


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
