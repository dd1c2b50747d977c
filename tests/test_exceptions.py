"""Exceptions in every hook, on every backend, and what cannot cross to another process."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from envs import STEP_HOOKS
from troubled_pools import HOW, assert_works, play_into, still

from envpool_protocol.errors import EnvError


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("hook", ["_seed_envpool", "_reset_envpool", *STEP_HOOKS])
def test_an_exception_in_a_hook_takes_other_rows_along(pool: Any, how: str, hook: str) -> None:
    troubled = pool("ValueError", at=hook, who=1, once=True, **HOW[how])
    rows, failures = play_into(troubled, hook)
    (failure,) = failures
    assert (failure.env_id, failure.hook, str(failure.exception)) == (1, hook, "env 1 says no")
    assert "in get_into" in failure.traceback
    assert rows[1] == ([0, 0, 0, 0], 0.0, False, True)
    assert all(rows[env][0][0] == env and not rows[env][3] for env in (0, 2, 3))
    assert_works(troubled)


@pytest.mark.parametrize("how", ["thread", "process"])
@pytest.mark.parametrize("what", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "MemoryError"])
def test_an_exception_that_is_no_exception_ends_the_worker(pool: Any, how: str, what: str) -> None:
    troubled = pool(what, who=1, **HOW[how])
    troubled.reset()
    with pytest.raises(EnvError, match=f"env 1: _step_envpool raised {what}"):
        troubled.step(still(4))
    assert_works(troubled)


@pytest.mark.parametrize("what", ["Unpicklable", "Unmakeable", "OnlyAtHomeError", "Silent"])
def test_an_exception_that_cannot_be_sent_is_lost(pool: Any, what: str) -> None:
    troubled = pool(what, who=1)
    troubled.reset()
    with pytest.raises(EnvError) as caught:
        troubled.step(still(4))
    (failure,) = caught.value.errors
    assert (failure.env_id, failure.hook) == (1, "_step_envpool")
    assert what in failure.traceback
    assert what in f"{type(failure.exception).__name__}: {failure.exception!r}"
    assert caught.value.result[0][:, 1].tolist() == [1, 0, 1, 1]
    assert_works(troubled)


@pytest.mark.parametrize("kind", ["lock", "home"])
@pytest.mark.parametrize("how", ["process", "process+caller"])
def test_an_info_that_cannot_be_sent_is_lost(pool: Any, kind: str, how: str) -> None:
    troubled = pool(f"info-{kind}", who=3, **HOW[how])
    troubled.reset()
    with pytest.raises(EnvError, match="_info_envpool raised") as caught:
        troubled.step(still(4))
    (failure,) = caught.value.errors
    assert failure.env_id == 3
    assert caught.value.result[0][:3, 1].tolist() == [1, 1, 1]
    assert_works(troubled)
    assert troubled._core.stats()["batches_held"] <= 1


@pytest.mark.parametrize("how", ["process", "process+caller"])
def test_options_that_cannot_be_sent_are_used_by_a_later_reset(pool: Any, how: str) -> None:
    troubled = pool(**HOW[how])
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        troubled.reset(options=[{"option": 5.0}, {"option": 6.0}, None, {"option": threading.Lock()}])
    obs, _ = troubled.reset()
    assert obs[:, 3].tolist() == [0, 0, 0, 0]
    obs, _ = troubled.reset(options={"option": 2.0})
    assert obs[:, 3].tolist() == [2, 2, 2, 2]
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        troubled.call("get_into", threading.Lock())
    obs, _ = troubled.reset()
    assert obs[:, 3].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", ["lock", "home"])
def test_a_result_that_cannot_be_sent_turns_up_in_another_place(pool: Any, kind: str) -> None:
    troubled = pool("info")
    troubled.reset()
    with pytest.raises((TypeError, RuntimeError), match=r"cannot be sent|far from here"):
        troubled.call("odd", kind)
    *_, info = troubled.step(still(4))
    assert info["t"].tolist() == [1, 1, 1, 1]
    assert troubled.call("about", env_id=[2])[0]["group"] != os.getpgrp()


def test_a_long_letter_is_cut_off(pool: Any) -> None:
    troubled = pool(num_envs=2)
    for _ in range(3):
        assert [len(part) for part in troubled.call("odd", "large")] == [8 << 20] * 2
