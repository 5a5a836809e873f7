"""Options of algorithms: a frozen dataclass whose fields declare the values they take, from Python or as text.

An option may have no effect with certain values of other options. The dataclass can declare this with a method
``without_effect``, which returns the names of such options, each with its condition, such as
``{"mask": "samples is not 0"}``. It is then an error to give one of them a value other than its default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_type_hints

from eap_plugin.errors import EapPluginError, UsageError, unknown_name
from eap_plugin.host.values import convert, expected, narrow, type_name

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class OptionInfo:
    """The description of one option.

    Attributes:
        name: the option's name.
        type: the type of its values, such as "int" or "float or none".
        default: its value when it is not given.
        help: what it does.
        unit: the unit of its numbers, if they have one.
        range: the values it takes, in words, if not all.
    """

    name: str
    type: str
    default: object
    help: str
    unit: str
    range: str


def option(
    default: Any,
    *,
    help: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[object, ...] | None = None,
) -> Any:
    """Declare a field of an options dataclass.

    Args:
        default: its value when it is not given.
        help: one sentence saying what it does.
        unit: the unit of its numbers.
        minimum: the smallest number it takes.
        maximum: the largest number it takes.
        choices: the only values it takes; a ``Literal`` type has the same effect.
    """
    rules = {"help": help, "unit": unit, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=rules)


def describe_options(cls: type) -> list[OptionInfo]:
    """Describe each option of an options dataclass, in the order of declaration.

    Raises:
        EapPluginError: if ``cls`` is not an options dataclass.
    """
    return [declared.info for declared in _declared(cls).values()]


def build_options(cls: type[T], values: Mapping[str, object], owner: str) -> T:
    """Make an options dataclass from the given values; options not given keep their defaults.

    Args:
        cls: the options dataclass.
        values: Python values or text, by option name.
        owner: the name of the algorithm that has the options, for messages.

    Raises:
        UsageError: if a name or a value is wrong (the message gives the right ones), or an option has no effect
            with the others.
        EapPluginError: if ``cls`` is not an options dataclass.
    """
    declared = _declared(cls)
    kwargs = {}
    for name, value in values.items():
        if name not in declared:
            raise unknown_name(f"{owner} option", name, declared)
        try:
            kwargs[name] = declared[name].read(value)
        except ValueError:
            raise UsageError(f"{owner} option {name!r} must be {declared[name].rule}, got {value!r}") from None
    options = cls(**kwargs)
    for name, condition in getattr(options, "without_effect", dict)().items():
        if name in values and getattr(options, name) != declared[name].info.default:
            raise UsageError(f"{owner} option {name!r} has no effect while {condition}; change that, or leave it out")
    return options


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Parse ``["a=1", "b=x"]`` into ``{"a": "1", "b": "x"}``; a value may contain further equals signs.

    Raises:
        UsageError: if one has no name or no equals sign, or a name is given twice.
    """
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        name = name.strip()
        if not name or not equals:
            raise UsageError(f"an option must have the form name=value, got {assignment!r}")
        if name in values:
            raise UsageError(f"option {name!r} is given twice, as {values[name]!r} and as {value!r}")
        values[name] = value
    return values


class _Declared:
    """A field of an options dataclass with its type."""

    def __init__(self, field: dataclasses.Field[Any], accepted: Any) -> None:
        self._name = field.name
        self._default = field.default
        self._help: str = field.metadata.get("help", "")
        self._unit: str = field.metadata.get("unit", "")
        self._minimum: float | None = field.metadata.get("minimum")
        self._maximum: float | None = field.metadata.get("maximum")
        choices: tuple[object, ...] | None = field.metadata.get("choices")
        self._accepted = narrow(accepted, choices) if choices else accepted

    def read(self, value: object) -> object:
        """Convert ``value`` to the option's type; raises ValueError if it is not one of its values."""
        value = convert(value, self._accepted)
        if isinstance(value, (int, float)):
            if self._minimum is not None and value < self._minimum:
                raise ValueError(value)
            if self._maximum is not None and value > self._maximum:
                raise ValueError(value)
        return value

    @property
    def rule(self) -> str:
        """The values that the option takes, in words; raises TypeError if its type is not supported."""
        return ", ".join(filter(None, (expected(self._accepted), self._range)))

    @property
    def _range(self) -> str:
        least = "" if self._minimum is None else f"at least {self._minimum}"
        most = "" if self._maximum is None else f"at most {self._maximum}"
        return " and ".join(filter(None, (least, most)))

    @property
    def info(self) -> OptionInfo:
        """The description of the option."""
        return OptionInfo(self._name, type_name(self._accepted), self._default, self._help, self._unit, self._range)

    def check(self, owner: str) -> None:
        """Check the declaration.

        Raises:
            EapPluginError: if the type is not supported, or the default is not one of the option's values.
        """
        wrong = f"option {self._name!r} of {owner} is declared wrongly"
        try:
            rule = self.rule
        except TypeError as error:
            raise EapPluginError(f"{wrong}: {error}") from None
        if self._default is dataclasses.MISSING:
            raise EapPluginError(f"{wrong}: it must have a default")
        try:
            self.read(self._default)
        except ValueError:
            raise EapPluginError(f"{wrong}: its default must be {rule}, got {self._default!r}") from None


def _declared(cls: type) -> dict[str, _Declared]:
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise EapPluginError(f"options must be declared as a dataclass, got {cls!r}")
    try:
        types = get_type_hints(cls)
    except Exception as error:
        raise EapPluginError(f"the types of {cls.__name__}'s options cannot be resolved: {error}") from error
    declared = {field.name: _Declared(field, types[field.name]) for field in dataclasses.fields(cls)}
    for candidate in declared.values():
        candidate.check(cls.__name__)
    return declared
