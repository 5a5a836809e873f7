"""The objects of one kind that plugins registered, by name; a name that two plugins register belongs to neither."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

from eap_plugin.errors import EapPluginError, unknown_name
from eap_plugin.host.kinds import Kind
from eap_plugin.host.plugin import BUILT_IN, Plugin, PluginInfo

T = TypeVar("T")


class Registry(Collection[str], Generic[T]):
    """The registered objects of one kind, by name; iterating yields the usable names in alphabetical order.

    Args:
        kind: the kind of the objects.
        claims: for each name, every plugin that registers it, with the object it registers.
        note: text added to the error for an unknown name, such as that plugins failed.
    """

    def __init__(self, kind: Kind, claims: dict[str, list[tuple[Plugin, T]]], note: str = "") -> None:
        """Store the claims; a conflict is raised when its name is used."""
        self._kind = kind
        self._claims = claims
        self._note = note

    def __getitem__(self, name: str) -> T:
        """Return the object of that name.

        Raises:
            UsageError: if no plugin registers it; it lists the known names.
            EapPluginError: if several plugins register it.
        """
        return self._claim(name)[1]

    def provider(self, name: str) -> PluginInfo:
        """Return the plugin that registers ``name``; raises the same errors as looking it up."""
        return self._claim(name)[0].info

    def origin(self, name: str) -> str:
        """Return ``name`` with its plugin and version, as messages give it; raises the same errors as looking it up."""
        return f"{self._kind.singular} {name!r} of plugin {self.provider(name)}"

    def __contains__(self, name: object) -> bool:
        """Return whether any plugin registers ``name``, even if several do."""
        return name in self._claims

    def __len__(self) -> int:
        """Return the number of usable names."""
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names that exactly one plugin registers, in alphabetical order."""
        return (name for name in sorted(self._claims) if len(self._claims[name]) == 1)

    @property
    def conflicts(self) -> list[str]:
        """One line for each name that several plugins register."""
        return [self._conflict(name) for name in sorted(self._claims) if len(self._claims[name]) > 1]

    @property
    def troubles(self) -> list[str]:
        """The reasons why a name may be missing: conflicts, and plugins that failed."""
        return [*self.conflicts, *filter(None, [self._note])]

    def _claim(self, name: str) -> tuple[Plugin, T]:
        claims = self._claims.get(name)
        if not claims:
            error = unknown_name(self._kind.singular, name, self)
            raise type(error)("; ".join([str(error), *self.troubles]))
        if len(claims) > 1:
            raise EapPluginError(self._conflict(name))
        return claims[0]

    def _conflict(self, name: str) -> str:
        plugins = [plugin.info for plugin, _ in self._claims[name]]
        *_, stranger = sorted(plugins, key=lambda plugin: plugin.distribution != BUILT_IN)
        return (
            f"{self._kind.singular} {name!r} is registered by {' and by '.join(map(str, plugins))}; "
            f"disable one, for example with EAP_PLUGIN_DISABLE={stranger.name}"
        )
