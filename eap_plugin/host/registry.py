"""The objects of one kind that plugins registered, by name.

A name that several plugins register belongs to the one that ``EAP_PLUGIN_PREFER`` names, else to the built-in one,
else to none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
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
        preferred: whether the user prefers a plugin where several register one name.
    """

    def __init__(
        self,
        kind: Kind,
        claims: dict[str, list[tuple[Plugin, T]]],
        note: str = "",
        preferred: Callable[[Plugin], bool] = lambda plugin: False,
    ) -> None:
        """Store the claims; a conflict that nothing decides is raised when its name is used."""
        self._kind = kind
        self._claims = claims
        self._note = note
        self._owners = {name: _owner(found, preferred) for name, found in claims.items()}

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
        """Iterate over the usable names, in alphabetical order."""
        return (name for name in sorted(self._claims) if self._owners[name] is not None)

    @property
    def conflicts(self) -> list[str]:
        """One line for each name that several plugins register."""
        return [self._conflict(name) for name in sorted(self._claims) if len(self._claims[name]) > 1]

    @property
    def troubles(self) -> list[str]:
        """The reasons why a name may be missing: conflicts, and plugins that failed."""
        return [*self.conflicts, *filter(None, [self._note])]

    def _claim(self, name: str) -> tuple[Plugin, T]:
        if name not in self._claims:
            error = unknown_name(self._kind.singular, name, self)
            raise type(error)("; ".join([str(error), *self.troubles]))
        owner = self._owners[name]
        if owner is None:
            raise EapPluginError(self._conflict(name))
        return owner

    def _conflict(self, name: str) -> str:
        plugins = [plugin.info for plugin, _ in self._claims[name]]
        said = f"{self._kind.singular} {name!r} is registered by {' and by '.join(map(str, plugins))}"
        owner = self._owners[name]
        if owner is None:
            return f"{said}; choose one, for example with EAP_PLUGIN_PREFER={plugins[0].name}"
        other = next(plugin for plugin in plugins if plugin != owner[0].info)
        return f"{said}; that of {owner[0].info.name} is used, EAP_PLUGIN_PREFER={other.name} chooses the other"


def _owner(claims: list[tuple[Plugin, T]], preferred: Callable[[Plugin], bool]) -> tuple[Plugin, T] | None:
    """Return the only claim, the only preferred one, or the only built-in one, in this order; ``None`` if in doubt."""
    built_in = [claim for claim in claims if claim[0].distribution == BUILT_IN]
    for found in (claims, [claim for claim in claims if preferred(claim[0])], built_in):
        if len(found) == 1:
            return found[0]
    return None
