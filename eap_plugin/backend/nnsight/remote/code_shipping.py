"""Checking, before anything is sent, that a program can be sent to a server.

nnsight pickles a program with its arguments. Functions and classes of registered packages are sent as source text, with
everything that their names refer to, and the server compiles them again. Other objects are sent by name only, and the
server imports them.

1. ``require_shippable`` registers the packages of the program and its arguments, unless the server has them.
2. It pickles the program as nnsight would, with an ``_Inspector`` that records which functions are sent as source and
   which objects by name. If pickling fails, the error names the object that cannot be pickled.
3. In each function that is sent as source it looks for what would fail or work differently on the server: decorators
   (nnsight sends a function without them), ``super()``, and imports in the body of modules that the server lacks.
4. It checks that the server can import each object that is sent by name.

The first problem found is raised as an error that names the function and says what to change.
"""

from __future__ import annotations

import dis
import inspect
import io
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import nnsight
from nnsight.intervention.serialization import DEFAULT_PROTOCOL, CustomCloudPickler, _function_referenced_names

from eap_plugin.backend.nnsight.remote.server import Server
from eap_plugin.errors import EapPluginError


def require_shippable(work: tuple[Any, ...], server: Server) -> None:
    """Register the packages of a program and its arguments for sending, and check that all of it can be sent.

    Raises:
        EapPluginError: naming the function that cannot be sent, and what to change.
    """
    for module in set(_modules(work)):
        root = module.partition(".")[0]
        if root != "__main__" and not server.has(root):
            nnsight.register(root)
    inspector = _Inspector()
    try:
        inspector.dump(work)
    except Exception as error:
        raise EapPluginError(_cannot(_unpicklable(inspector.functions, error))) from error
    problems = [problem for f in inspector.functions for problem in _problems(f, server)]
    problems += [
        _missing(thing, inspector.functions) for thing in inspector.by_reference if not server.has(_module(thing))
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise EapPluginError(_cannot(problems[0]) + more)


class _Inspector(CustomCloudPickler):  # type: ignore[misc]
    """A pickler that records which functions are sent as source, and which objects by name only."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), protocol=DEFAULT_PROTOCOL)
        self.functions: list[FunctionType] = []
        self.by_reference: list[Any] = []

    def _dynamic_function_reduce(self, func: FunctionType) -> Any:
        self.functions.append(func)
        return super()._dynamic_function_reduce(func)

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented and _pickled_by_name(obj):
            self.by_reference.append(obj)
        return reduced


def _pickled_by_name(thing: Any) -> bool:
    """Return whether pickle stores only the name of an object that it cannot reduce: a class or a (cached) function."""
    return isinstance(thing, (type, FunctionType)) or hasattr(thing, "cache_info")


def _modules(value: Any) -> Iterator[str]:
    """Yield the modules in which a program and its arguments are defined."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _modules(item)
    elif isinstance(value, MethodType):
        yield type(value.__self__).__module__
    elif isinstance(value, FunctionType):
        yield value.__module__
    else:
        yield type(value).__module__
        if is_dataclass(value):
            for field in fields(value):
                yield from _modules(getattr(value, field.name))


def _problems(function: FunctionType, server: Server) -> Iterator[str]:
    """Yield what would fail or work differently on a server in a function that is sent as source."""
    name = _name(function)
    if hasattr(function, "__wrapped__") and _has_source(function):
        yield f"{name} is decorated, but is sent without its decorators; do what they do in its body"
    if "__class__" in function.__code__.co_freevars:
        yield f"{name} calls super(), which fails on the server; name the base class instead"
    for module in _imports(function.__code__):
        if not server.has(module):
            yield f"{name} imports {module} in its body, which fails on the server; import it at the top of its module"


def _has_source(function: FunctionType) -> bool:
    """Return whether a function has source text; generated ones, such as a dataclass's methods, have none."""
    try:
        inspect.getsource(function)
    except (OSError, TypeError):
        return False
    return True


def _imports(code: CodeType) -> Iterator[str]:
    """Yield the modules that a function's body imports; relative ones keep their dots, so no server has them."""
    last: list[Any] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            level = last[-2] if len(last) > 1 and isinstance(last[-2], int) else 0
            yield "." * level + instruction.argval
        if instruction.opname == "LOAD_CONST":
            last.append(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _imports(constant)


def _missing(thing: Any, functions: list[FunctionType]) -> str:
    """Say what to do about an object that is sent by name from a package that the server lacks."""
    users = [_name(f) for f in functions if any(value is thing for value in _used(f).values())]
    by = f"{users[0]} uses {_name(thing)}" if users else _name(thing)
    if hasattr(thing, "cache_info"):
        return f"{by}, which functools.cache or lru_cache made and which cannot be sent; remove the cache"
    root = _module(thing).partition(".")[0]
    return (
        f"{by}, but {root} is not installed on the server; do without it"
        + (", also in annotations of nested functions" if root == "jaxtyping" else "")
        + f', or, if {root} is your own package, have it sent: nnsight.register("{root}")'
    )


def _unpicklable(functions: list[FunctionType], error: Exception) -> str:
    """Say which name in which function refers to an object that cannot be pickled, last pickled function first."""
    reason = " ".join(str(error).split()) or type(error).__name__
    for function in reversed(functions):
        for name, value in _used(function).items():
            if not isinstance(value, (FunctionType, type, ModuleType)) and not _picklable(value):
                return f"{_name(function)} uses {name}, a {type(value).__name__}, which cannot be sent: {reason}"
    return f"an object in the algorithm, its options or the metric cannot be sent: {reason}"


def _picklable(value: Any) -> bool:
    try:
        _Inspector().dump(value)
    except Exception:
        return False
    return True


def _used(function: FunctionType) -> dict[str, Any]:
    """Return what is sent with a function: the globals and closure variables that it names, also in annotations."""
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=False)
    closure = {name: cell.cell_contents for name, cell in cells if _filled(cell)}
    names = code.co_names
    if _has_source(function) and code.co_name != "<lambda>":
        names = tuple(_function_referenced_names(textwrap.dedent(inspect.getsource(function))))
    return {name: function.__globals__[name] for name in names if name in function.__globals__} | closure


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _module(thing: Any) -> Any:
    return thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)


def _name(thing: Any) -> str:
    return f"{_module(thing)}.{thing.__qualname__}"


def _cannot(problem: str) -> str:
    return f"this run cannot be sent to a server: {problem}"
