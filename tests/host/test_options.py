"""Options are read from Python values and from text alike; a wrong one is answered with the right ones."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.host.options import build_options, describe_options, option, parse_assignments


@dataclass(frozen=True)
class Options:
    steps: int = option(5, help="How many points.", unit="points", minimum=1, maximum=100)
    ratio: float = option(0.5, help="How much.", minimum=0, maximum=1)
    absolute: bool = option(False, help="Ignore signs.")
    dtype: str = option("float32", help="Of the sums.", choices=("float32", "bfloat16"))
    name: str | None = option(None, help="What to call it.")
    limit: int | None = option(None, help="At most so many.", minimum=1)
    ablation: Literal["patch", "zero"] = option("patch", help="What is put in.")
    anything: float = option(0.0, help="Any number.")
    layer: int | Literal["all"] = option("all", help="Which layer.")


def build(**values):
    return build_options(Options, values, "eap")


def test_what_is_not_given_keeps_its_default():
    assert build() == Options()
    assert build(steps="7") == Options(steps=7)
    with pytest.raises(FrozenInstanceError):
        build().steps = 3


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("steps", " 12 ", 12),
        ("ratio", "1e-2", 0.01),
        ("ratio", 1, 1.0),
        ("absolute", "Yes", True),
        ("absolute", "0", False),
        ("absolute", True, True),
        ("dtype", "bfloat16", "bfloat16"),
        ("name", "none", None),
        ("name", "7", "7"),
        ("limit", "None", None),
        ("limit", None, None),
        ("limit", "3", 3),
        ("ablation", "zero", "zero"),
        ("layer", "all", "all"),
        ("layer", "3", 3),
    ],
)
def test_python_values_and_text_are_read(name, value, read):
    got = getattr(build(**{name: value}), name)
    assert got == read
    assert type(got) is type(read)


@pytest.mark.parametrize(
    ("name", "value", "must_be"),
    [
        ("steps", "many", "a whole number, at least 1 and at most 100, got 'many'"),
        ("steps", "1.5", "a whole number"),
        ("steps", 2.0, "a whole number"),
        ("steps", True, "a whole number"),
        ("steps", None, "a whole number"),
        ("steps", 0, "at least 1"),
        ("steps", "101", "at most 100, got '101'"),
        ("ratio", "-0.1", "a finite number, at least 0 and at most 1, got '-0.1'"),
        ("ratio", 1.01, "at most 1"),
        ("ratio", float("nan"), "a finite number"),
        ("anything", "inf", "a finite number, got 'inf'"),
        ("anything", 10**400, "a finite number"),
        ("absolute", "maybe", "true or false, got 'maybe'"),
        ("absolute", 1, "true or false, got 1"),
        ("dtype", "float8", "one of float32, bfloat16, got 'float8'"),
        ("name", 3, "text or none, got 3"),
        ("limit", "0", "a whole number or none, at least 1, got '0'"),
        ("ablation", "mean", "one of patch, zero, got 'mean'"),
        ("layer", "some", "a whole number or one of all, got 'some'"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_expected(name, value, must_be):
    with pytest.raises(UsageError) as error:
        build(**{name: value})
    message = str(error.value)
    assert message.startswith(f"eap option {name!r} must be ")
    assert must_be in message
    assert "\n" not in message


def test_a_wrong_name_is_answered_with_the_right_ones():
    with pytest.raises(UsageError, match=r"unknown eap option 'step'; did you mean 'steps'\? \(known: ablation, abso"):
        build(step=3)


def test_options_describe_themselves():
    infos = {info.name: info for info in describe_options(Options)}
    assert list(infos)[:3] == ["steps", "ratio", "absolute"]
    assert infos["steps"].type == "int"
    assert (infos["steps"].default, infos["steps"].unit) == (5, "points")
    assert infos["steps"].help == "How many points."
    assert infos["steps"].range == "at least 1 and at most 100"
    assert infos["absolute"].range == ""
    assert infos["limit"].type == "int | none"
    assert infos["dtype"].type == "float32 | bfloat16"
    assert infos["ablation"].type == "patch | zero"
    assert infos["layer"].type == "int | all"


@dataclass(frozen=True)
class NoDefault:
    steps: int


@dataclass(frozen=True)
class BadDefault:
    steps: int = option(0, help="How many.", minimum=1)


@dataclass(frozen=True)
class BadType:
    steps: tuple[int, ...] | None = option(None, help="Which.")


@dataclass(frozen=True)
class Unresolved:
    steps: NoSuchType = option(None, help="Which.")


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (NoDefault, "option 'steps' of NoDefault is declared wrongly: it must have a default"),
        (
            BadDefault,
            "of BadDefault is declared wrongly: its default must be a whole number, at least 1, got 0",
        ),
        (BadType, r"of BadType is declared wrongly: tuple\[int, \.\.\.\] is not bool, int, float"),
        (
            Unresolved,
            "the types of Unresolved's options cannot be resolved: name 'NoSuchType' is not defined",
        ),
        (dict, "options must be declared as a dataclass, got <class 'dict'>"),
    ],
)
def test_a_wrong_declaration_is_the_plugins_error(cls, said):
    with pytest.raises(EapPluginError, match=said) as error:
        build_options(cls, {}, "eap")
    assert not isinstance(error.value, UsageError)
    with pytest.raises(EapPluginError, match=said):
        describe_options(cls)


def test_narrowing_choices_keeps_none_where_the_type_allows_it():
    @dataclass(frozen=True)
    class Optionally:
        mode: str | None = option(None, help="Which.", choices=("a", "b"))

    assert build_options(Optionally, {"mode": "a"}, "eap").mode == "a"
    assert build_options(Optionally, {"mode": "none"}, "eap").mode is None
    with pytest.raises(UsageError, match="must be one of a, b or none, got 'c'"):
        build_options(Optionally, {"mode": "c"}, "eap")


@given(st.integers(1, 100), st.floats(0, 1), st.booleans(), st.sampled_from(["patch", "zero"]))
def test_text_reads_back_as_the_value_it_was_written_from(steps, ratio, absolute, ablation):
    expected = Options(steps=steps, ratio=ratio, absolute=absolute, ablation=ablation)
    values = {"steps": steps, "ratio": ratio, "absolute": absolute, "ablation": ablation}
    assert build(**values) == expected
    assert build(**{name: str(value) for name, value in values.items()}) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_survives_as_text(value):
    assert build(anything=repr(value)).anything == value


@pytest.mark.parametrize("name", ["steps", "ratio", "absolute", "dtype"])
@given(value=st.text() | st.integers() | st.floats() | st.booleans() | st.none())
def test_any_value_either_is_a_usage_error_or_becomes_one_within_the_rules(name, value):
    try:
        read = getattr(build(**{name: value}), name)
    except UsageError:
        return
    assert type(read) is {"steps": int, "ratio": float, "absolute": bool, "dtype": str}[name]
    assert name != "steps" or 1 <= read <= 100
    assert name != "ratio" or 0 <= read <= 1
    assert name != "dtype" or read in ("float32", "bfloat16")


NAMES = st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True)


@given(st.dictionaries(NAMES, st.text()))
def test_assignments_read_back(values):
    assert parse_assignments(f"{name}={value}" for name, value in values.items()) == values


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (["steps"], "an option must have the form name=value, got 'steps'"),
        (["=3"], "an option must have the form name=value, got '=3'"),
        (["a=1", " a =2"], "option 'a' is given twice, as '1' and as '2'"),
    ],
)
def test_a_wrong_assignment_is_a_usage_error(given_, said):
    with pytest.raises(UsageError, match=said):
        parse_assignments(given_)
