"""The host: it loads every plugin separately and calls its hooks when they are first needed.

With ``EAP_PLUGIN_STRICT=1`` a plugin that fails is an error rather than a line in the list of plugins.
``EAP_PLUGIN_DISABLE=name,...`` disables plugins, by the name of the entry point, of the distribution, or both as
``distribution:entry-point``. ``EAP_PLUGIN_PREFER=name,...`` chooses plugins, in the same way, where several register
one name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING, Any

from eap_plugin.errors import EapPluginError, UsageError, unknown_name
from eap_plugin.host.hookspecs import PROJECT
from eap_plugin.host.interrupts import noticing_interrupts
from eap_plugin.host.kinds import KINDS
from eap_plugin.host.plugin import Plugin, PluginInfo, one_line
from eap_plugin.host.registry import Registry
from eap_plugin.host.values import parse_bool

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

STRICT = "EAP_PLUGIN_STRICT"
DISABLE = "EAP_PLUGIN_DISABLE"
PREFER = "EAP_PLUGIN_PREFER"
LOAD = "load"


class Host:
    """The plugins and what they register.

    No plugin is imported before it is first needed. The environment variables are read when the host is made.

    Args:
        entry_points: the plugins' entry points; by default those that installed distributions declare.
    """

    def __init__(self, entry_points: Iterable[EntryPoint] | None = None) -> None:
        """Read the environment.

        Raises:
            UsageError: if ``EAP_PLUGIN_STRICT`` is neither yes nor no.
        """
        self._strict = _flag(STRICT)
        self._disable, self._prefer = _names(DISABLE), _names(PREFER)
        self._entry_points = entry_points
        self._plugins: list[Plugin] | None = None
        self._registries: dict[str, Registry[Any]] = {}
        self._lock = RLock()
        self._busy = False

    def plugins(self) -> list[PluginInfo]:
        """Return every plugin, sorted by name. Plugins are imported, but no hook is called.

        A plugin whose hook failed in ``registry`` is "failed" from then on.

        Raises:
            EapPluginError: if ``EAP_PLUGIN_STRICT`` is set and a plugin cannot be loaded.
        """
        return [plugin.info for plugin in self._loaded()]

    def warnings(self) -> list[str]:
        """Return one line per failed plugin and per name that the environment gives but no plugin has."""
        plugins = self._loaded()
        names = {name for plugin in plugins for name in plugin.names if name}
        known = {_normal(name) for name in names}
        failed = [plugin.info for plugin in plugins if plugin.info.state == "failed"]
        unknown = [
            (variable, name)
            for variable, given in ((DISABLE, self._disable), (PREFER, self._prefer))
            for name in given
            if _normal(name) not in known
        ]
        return [
            *(f"plugin {info} failed: {info.reason}; {info.advice}" for info in failed),
            *(f"{variable}: {unknown_name('plugin', name, names)}" for variable, name in unknown),
        ]

    def registry(self, kind: str) -> Registry[Any]:
        """Return what the plugins register as ``kind``; their hooks are called the first time.

        Args:
            kind: one of ``KINDS``, such as "algorithms".

        Raises:
            UsageError: if there is no such kind.
            EapPluginError: if ``EAP_PLUGIN_STRICT`` is set and a plugin fails.
        """
        if kind not in KINDS:
            raise unknown_name("kind of registry", kind, KINDS)
        plugins = self._loaded()
        with self._exclusively():
            if kind not in self._registries:
                self._registries[kind] = self._collect(kind, plugins)
            return self._registries[kind]

    def _loaded(self) -> list[Plugin]:
        with self._exclusively():
            if self._plugins is None:
                self._plugins = self._load()
            return self._plugins

    def _load(self) -> list[Plugin]:
        plugins = [Plugin(entry_point) for entry_point in self._find()]
        for plugin in plugins:
            if _is_among(plugin, self._disable):
                plugin.disabled = f"disabled by {DISABLE}"
                continue
            with self._recording_failure(plugin, LOAD):
                plugin.load()
        return sorted(plugins, key=lambda plugin: plugin.name)

    def _find(self) -> Iterable[EntryPoint]:
        if self._entry_points is not None:
            return self._entry_points
        from importlib.metadata import entry_points  # slower to import than the rest of the host

        return entry_points(group=PROJECT)

    def _collect(self, name: str, plugins: list[Plugin]) -> Registry[Any]:
        kind = KINDS[name]
        claims: dict[str, list[tuple[Plugin, Any]]] = {}
        for plugin in plugins:
            if kind.hook in plugin.hooks:
                with self._recording_failure(plugin, kind.hook):
                    for key, thing in plugin.collect(kind).items():
                        claims.setdefault(key, []).append((plugin, thing))
        failed = [p.name for p in plugins if p.failures.keys() & {LOAD, kind.hook}]
        count = "1 plugin" if len(failed) == 1 else f"{len(failed)} plugins"
        note = f"{count} failed to load ({', '.join(failed)}): see `eap plugins --check`" if failed else ""
        return Registry(kind, claims, note, lambda plugin: _is_among(plugin, self._prefer))

    @contextmanager
    def _recording_failure(self, plugin: Plugin, step: str) -> Iterator[None]:
        """Record an exception as the plugin's failure at ``step``, or raise an error in strict mode.

        Only Ctrl-C is raised as it is; a ``KeyboardInterrupt`` that the plugin raises itself is its failure.
        """
        with noticing_interrupts() as interrupts:
            try:
                yield
            except BaseException as error:
                if interrupts.seen:
                    raise
                self._record(plugin, step, error)

    def _record(self, plugin: Plugin, step: str, error: BaseException) -> None:
        doing = f"cannot load {plugin.entry_point.value}" if step == LOAD else step
        reason = f"{doing}: {one_line(error)}"
        if self._strict:
            raise EapPluginError(f"plugin {plugin.info} failed: {reason}; {plugin.info.advice}") from error
        plugin.failures[step] = reason

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Let one thread in at a time, and refuse calls from a plugin that is being loaded."""
        with self._lock:
            if self._busy:
                raise EapPluginError(
                    "a plugin looked up registered names while being loaded; look them up when they are used"
                )
            self._busy = True
            try:
                yield
            finally:
                self._busy = False


@cache
def get_host() -> Host:
    """Return the host of this process."""
    return Host()


def _flag(variable: str) -> bool:
    text = os.environ.get(variable, "") or "no"
    try:
        return parse_bool(text)
    except ValueError:
        raise UsageError(f"{variable} must be 1 or 0, got {text!r}") from None


def _names(variable: str) -> list[str]:
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


def _is_among(plugin: Plugin, names: Iterable[str]) -> bool:
    """Return whether a plugin is given by one of its names."""
    return bool({_normal(name) for name in names} & {_normal(name) for name in plugin.names})


def _normal(name: str) -> str:
    """Normalize a name as package indexes do."""
    return re.sub(r"[-_.]+", "-", name).lower()
