"""The error tree in `envpool_protocol/errors.py`."""

from __future__ import annotations

import builtins
import inspect
import pickle
import re
from pathlib import Path

import pytest

from envpool_protocol import errors
from envpool_protocol.errors import (
    BuildError,
    EnvError,
    EnvFailure,
    EnvPoolError,
    SpecError,
    UnknownEnvError,
    WorkerDied,
    nearest,
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
BUILTINS = {
    "ProtocolError": TypeError,
    "SpecError": ValueError,
    "RegistrationError": ValueError,
    "UnknownEnvError": KeyError,
    "BuildError": RuntimeError,
    "ConfigError": ValueError,
    "ActionError": ValueError,
    "PoolError": RuntimeError,
    "PoolTimeout": TimeoutError,
}


def classes() -> dict[str, type]:
    found = inspect.getmembers(errors, lambda value: inspect.isclass(value) and issubclass(value, Exception))
    return {name: cls for name, cls in found if not name.startswith("_")}


def bases(cls: type) -> list[type]:
    """The public classes that `cls` is made from."""
    return [
        public
        for base in cls.__bases__
        for public in (bases(base) if base.__name__.startswith("_") else [base])
    ]


def test_docstring_draws_the_tree_that_the_classes_form() -> None:
    drawn, above = {}, [("", -1)]
    for line in inspect.cleandoc(errors.__doc__ or "").splitlines():
        name, *told = line.split() or [""]
        if name not in classes():
            continue
        indent = line.index(name)
        while above[-1][1] >= indent:
            above.pop()
        builtin = told[-1] if told and told[-1][0].isupper() and hasattr(builtins, told[-1]) else ""
        drawn[name] = (above[-1][0], builtin)
        above.append((name, indent))
    formed = {}
    for name, cls in classes().items():
        ours = [base.__name__ for base in bases(cls) if issubclass(base, EnvPoolError)]
        others = [b.__name__ for b in bases(cls) if b is not Exception and b.__name__ not in ours]
        formed[name] = ("".join(ours), "".join(others))
    assert drawn == formed


@pytest.mark.parametrize("name", BUILTINS)
def test_caller_who_does_not_know_the_tree_catches_it_as_the_builtin(name: str) -> None:
    assert issubclass(classes()[name], BUILTINS[name])


def test_every_error_is_caught_by_the_base() -> None:
    assert all(issubclass(cls, EnvPoolError) for cls in classes().values())


def test_page_says_of_every_error_when_it_comes_and_what_to_do() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", PAGE.read_text("utf-8"), re.M)
    assert sorted(name for name, when, what in rows) == sorted(set(classes()) - {"EnvPoolError"})
    assert "`EnvPoolError` is the base" in PAGE.read_text("utf-8")


def test_unknown_env_error_shows_its_message_without_keyerrors_quotes() -> None:
    assert str(UnknownEnvError("no env is called 'x'")) == "no env is called 'x'"


def test_build_error_keeps_output_and_sources() -> None:
    error = BuildError("it failed", "line 1", "/somewhere")
    assert (str(error), error.output, error.source_path) == ("it failed", "line 1", "/somewhere")


def failure(env_id: int) -> EnvFailure:
    cause = ValueError(f"bad {env_id}")
    return EnvFailure(env_id, "_step_envpool", 42, 3, [0.5], cause, "Traceback ...\nValueError: bad\n")


def test_env_error_names_the_first_failure_and_counts_the_others() -> None:
    error = EnvError(map(failure, (5, 7, 8)), result="rows")
    assert (error.env_id, error.hook, error.seed, error.elapsed_step) == (5, "_step_envpool", 42, 3)
    assert (error.action, error.result, len(error.errors)) == ([0.5], "rows", 3)
    assert isinstance(error.__cause__, ValueError) and error.__cause__ is error.errors[0].exception
    for fact in (
        "env 5",
        "_step_envpool raised ValueError: bad 5",
        "seed 42",
        "[0.5]",
        "Traceback",
        "2 more",
    ):
        assert fact in str(error)


def test_failure_without_frames_says_what_it_is_once() -> None:
    error = EnvFailure(0, "_reward_envpool", 42, 0, 1, SpecError("no number"), "SpecError: no number\n")
    assert str(error).count("no number") == 1


@pytest.mark.parametrize("name", sorted(set(classes()) - {"EnvError", "WorkerDied"}))
def test_error_survives_a_trip_between_processes(name: str) -> None:
    error = classes()[name]("what happened")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)


@pytest.mark.parametrize("kind", [EnvError, WorkerDied])
def test_env_error_survives_a_trip_between_processes_with_its_failures(kind: type) -> None:
    copy = pickle.loads(pickle.dumps(kind(map(failure, (5, 7)), result="rows")))
    assert (type(copy), copy.env_id, len(copy.errors), copy.result) == (kind, 5, 2, "rows")
    assert isinstance(copy.__cause__, ValueError)


def test_nearest_suggests_a_typo_and_nothing_for_another_word() -> None:
    assert nearest("nun_envs", ["num_envs", "seed"]) == " Nearest: 'num_envs'."
    assert nearest("zzz", ["num_envs", "seed"]) == ""
