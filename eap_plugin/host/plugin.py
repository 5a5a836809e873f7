"""One plugin: an entry point that is loaded, checked and called separately from all others."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

from pluggy import PluginManager, PluginValidationError

from eap_plugin.errors import EapPluginError, unknown_name
from eap_plugin.host import hookspecs
from eap_plugin.host.kinds import KINDS, Kind

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

KNOWN_HOOKS = tuple(kind.hook for kind in KINDS.values())
BUILT_IN = "eap-plugin"
"""The distribution that contains the built-in plugins."""
LONGEST_REASON = 500


@dataclass(frozen=True)
class PluginInfo:
    """The description of a plugin.

    Attributes:
        name: ``distribution:entry-point``, or the entry point alone if it belongs to no distribution.
        distribution: the name of the distribution it came with.
        version: the version of that distribution.
        hooks: the hooks it implements; empty if it was not loaded.
        state: "ok", "failed" or "disabled".
        reason: one line saying why it is not "ok".
    """

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]
    state: Literal["ok", "failed", "disabled"]
    reason: str

    def __str__(self) -> str:
        """Return the plugin's name and version, as error messages give them."""
        return f"{self.name} {self.version}".rstrip()

    @property
    def advice(self) -> str:
        """What a user can do when the plugin is at fault."""
        return f"update {self.distribution or self.name}, tell its author, or set EAP_PLUGIN_DISABLE={self.name}"


class Plugin:
    """One entry point, and the state of loading it.

    It has a pluggy manager of its own, so that its mistakes cannot affect another plugin's hooks.
    """

    def __init__(self, entry_point: EntryPoint) -> None:
        """Read the plugin's names; nothing is imported."""
        dist = entry_point.dist
        self.entry_point = entry_point
        self.distribution = (dist and dist.name) or ""
        self.version = (dist and dist.version) or ""
        self.name = f"{self.distribution}:{entry_point.name}" if self.distribution else entry_point.name
        self.disabled = ""
        self.failures: dict[str, str] = {}
        self.hooks: tuple[str, ...] = ()
        self._manager = PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)

    @property
    def names(self) -> tuple[str, str, str]:
        """The names by which it can be disabled."""
        return self.name, self.entry_point.name, self.distribution

    @property
    def info(self) -> PluginInfo:
        """The current description of the plugin."""
        state: Literal["ok", "failed", "disabled"] = "failed" if self.failures else "ok"
        return PluginInfo(
            name=self.name,
            distribution=self.distribution,
            version=self.version,
            hooks=self.hooks,
            state="disabled" if self.disabled else state,
            reason=self.disabled or "; ".join(self.failures.values()),
        )

    def load(self) -> None:
        """Import the entry point and check its hook implementations; no hook is called.

        Raises:
            EapPluginError: if the host cannot call a hook implementation, or there is none.
            Exception: whatever importing it raises.
        """
        plugin = self.entry_point.load()
        try:
            self._manager.register(plugin, self.name)
        except PluginValidationError as error:
            said = "; ".join(str(error).splitlines())
            raise EapPluginError(f"{said} (known hooks: {_specs()})") from error
        callers = self._manager.get_hookcallers(plugin) or []
        for caller in callers:
            for impl in caller.get_hookimpls():
                shown = f"{caller.name}{signature(impl.function)}"
                if not caller.has_spec() and not impl.optionalhook:
                    raise EapPluginError(f"{shown}: {unknown_name('hook', caller.name, KNOWN_HOOKS)}")
                if caller.has_spec() and "register" not in impl.argnames:
                    raise EapPluginError(f"hook {shown} must take one argument named 'register'")
        self.hooks = tuple(sorted(caller.name for caller in callers if caller.has_spec()))
        if not self.hooks:
            raise EapPluginError(
                f"it implements no hook; decorate one with eap_plugin.hookimpl (known hooks: {_specs()})"
            )

    def collect(self, kind: Kind) -> dict[str, Any]:
        """Call the plugin's hook for one kind, and return what it registers by name.

        Raises:
            EapPluginError: if something it registers is not of that kind, or repeats a name.
            Exception: whatever the hook raises.
        """
        things: dict[str, Any] = {}

        def register(thing: Any) -> None:
            name = kind.check(thing)
            if name in things:
                raise EapPluginError(f"{kind.singular} {name!r} is registered twice")
            things[name] = thing

        getattr(self._manager.hook, kind.hook)(register=register)
        return things


def one_line(error: BaseException) -> str:
    """Format an exception as one line of bounded length."""
    text = str(error) if isinstance(error, EapPluginError) else f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError):
        text += f" (install the package that provides {error.name})"
    return textwrap.shorten(text, LONGEST_REASON, placeholder=" …")


def _specs() -> str:
    return ", ".join(f"{hook}(register)" for hook in KNOWN_HOOKS)
