"""What crosses between processes arrives, or says why it does not."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from faulty_envs import OnlyAtHomeError, Silent, Unmakeable, Unpicklable

from envpool_wrap.letters import dumps, loads


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def sent(error: BaseException, action: Any = None) -> Any:
    return loads(dumps(("_step_envpool", 3, action, raised(error), None)))


@pytest.mark.parametrize(
    "letter",
    [{"a": 1}, [None], [[1, 2]], {}, ["x" * (1 << 20)]],
    ids=["info", "none", "list", "empty", "long"],
)
def test_a_letter_changes_on_its_way(letter: Any) -> None:
    assert loads(dumps(letter)) == letter


def test_a_function_that_no_import_finds_is_lost() -> None:
    seven = 7
    assert loads(dumps(lambda: seven))() == 7


def test_what_cannot_be_sent_is_not_named() -> None:
    with pytest.raises(TypeError, match=r"lock.* cannot be sent to another process: cannot pickle"):
        dumps({"lock": threading.Lock()})


@pytest.mark.parametrize(
    ("letter", "named"),
    [
        ({"a": 1, "lock": threading.Lock()}, r"^\['lock'\] = <unlocked .* of type lock cannot be sent"),
        ({"a": {"b": {"c": threading.Lock()}}}, r"^\['a'\]\['b'\]\['c'\] = <unlocked .* cannot be sent"),
        ({"a": [threading.Lock()]}, r"^\['a'\] = \[<unlocked .* of type list cannot be sent"),
        ([threading.Lock()], r"^\[<unlocked .* of type list cannot be sent"),
    ],
)
def test_the_part_that_cannot_be_sent_is_not_named(letter: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        dumps(letter)


def test_an_exception_loses_its_type_or_its_traceback() -> None:
    hook, elapsed_step, action, exception, text = sent(KeyError("a", 2), action=5)
    assert (hook, elapsed_step, action) == ("_step_envpool", 3, 5)
    assert (type(exception), exception.args) == (KeyError, ("a", 2))
    assert "in raised" in text
    assert "KeyError: ('a', 2)" in text


@pytest.mark.parametrize("error", [Unpicklable("odd"), Unmakeable(7, "odd")])
def test_an_exception_without_a_way_back_is_lost(error: Exception) -> None:
    *_, exception, text = sent(error)
    assert isinstance(exception, Exception)
    assert type(error).__name__ in f"{exception!r}"
    assert "odd" in str(exception)
    assert "in raised" in text


def test_an_exception_without_a_text_stops_the_letter() -> None:
    *_, exception, text = sent(Silent("odd"))
    assert "Silent" in f"{exception!r}"
    assert "in raised" in text


def test_an_exception_that_cannot_be_made_here_stops_the_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    letter = dumps(("_step_envpool", 3, None, raised(OnlyAtHomeError("odd")), None))
    monkeypatch.setattr("os.getpid", lambda: -1)
    *_, exception, text = loads(letter)
    assert "OnlyAtHomeError" in f"{exception!r}"
    assert "in raised" in text


def test_an_action_that_cannot_be_sent_takes_the_exception_along() -> None:
    _, _, action, exception, _ = sent(ValueError("no"), action=[threading.Lock()])
    assert "lock" in action
    assert exception.args == ("no",)
