"""Letters from a worker that cannot be stored, or that nobody reads: the caller is told all the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from envs import STEP_HOOKS
from faulty_envs import is_gone, until
from troubled_pools import HOW, LOST, PROCESSES, assert_works, pids_of, play_into, still

from envpool_protocol.errors import EnvError

UNTOLD = "its exception could not be brought over: its worker has no memory or no space left for it"


@pytest.mark.parametrize("how", PROCESSES)
@pytest.mark.parametrize("hook", ["_seed_envpool", "_reset_envpool", *STEP_HOOKS])
def test_an_exception_that_finds_no_space_is_never_told(pool: Any, how: str, hook: str) -> None:
    troubled = pool("full", at=hook, who=3, once=True, **HOW[how])
    rows, failures = play_into(troubled, hook)
    (failure,) = failures
    assert (failure.env_id, failure.hook, str(failure.exception)) == (3, hook, UNTOLD)
    assert (failure.seed, failure.elapsed_step, failure.action) == (troubled._core.seed(3), 0, None)
    assert rows[3] == LOST
    assert all(rows[env][0][0] == env and not rows[env][3] for env in (0, 1, 2))
    assert_works(troubled)


def test_an_exception_that_finds_no_space_is_not_restarted(pool: Any) -> None:
    troubled = pool("full", who=3, once=True, on_error="restart")
    troubled.reset()
    assert troubled.step(still(4))[3].tolist() == [False, False, False, True]
    assert troubled.stats()["restarts"] == [0, 0, 0, 1]
    assert_works(troubled)


def test_an_exception_that_finds_no_space_outside_a_step_is_never_told(pool: Any) -> None:
    with pytest.raises(EnvError, match=f"env 3: __init__ raised RuntimeError: {UNTOLD}"):
        pool("full", at="__init__", who=3)
    troubled = pool("full", at="_close_envpool", who=3)
    troubled.reset()
    with pytest.raises(RuntimeError, match=UNTOLD):
        troubled.call("get_into", "full", env_id=[2])
    with pytest.raises(RuntimeError, match=UNTOLD):  # the same worker, and a result this time
        troubled.call("about", env_id=[3])
    assert troubled.step(still(4))[0][:, 1].tolist() == [1, 1, 1, 1]
    with pytest.raises(EnvError, match=f"env 3: _close_envpool raised RuntimeError: {UNTOLD}"):
        troubled.close()


@pytest.mark.parametrize("how", ["process", "process-async"])
def test_an_info_that_finds_no_memory_hangs_the_pool(pool: Any, how: str) -> None:
    troubled = pool("info-cramped", who=3, **HOW[how])
    rows, failures = play_into(troubled, "_info_envpool")
    (failure,) = failures
    assert (failure.env_id, failure.hook) == (3, "_info_envpool")
    assert isinstance(failure.exception, MemoryError)
    assert rows[3] == LOST
    assert_works(troubled)


def test_ctrl_c_while_infos_are_read_is_an_error_of_an_env(pool: Any) -> None:
    troubled = pool("info-alarm")
    troubled.reset()
    with pytest.raises(KeyboardInterrupt):
        troubled.step(still(4))
    troubled.set_attr("when", 2, env_id=[3])
    troubled.set_attr("what", "info-large", env_id=[3])
    assert troubled.step(still(4))[4]["_odd"].tolist() == [False, False, False, True]
    assert_works(troubled)


def test_a_letter_that_nobody_reads_ends_the_worker_that_closes_its_env(pool: Any, tmp_path: Path) -> None:
    troubled = pool("info-nowhere", who=3)
    troubled.reset()
    troubled.send(still(4))
    assert until(lambda: troubled._core.stats()["steps"] == [1, 1, 1, 1])
    troubled.close()
    assert {path.name for path in tmp_path.iterdir()} == {f"closed-{env}" for env in range(4)}


@pytest.fixture
def waiting(pool: Any, tmp_path: Path) -> Any:
    """Env 0's row of step 4, with info, is there and not received; its worker is dead, and that was noticed.

    Env 1 cannot be built again.
    """
    built_once = tmp_path / "once-1"
    built_once.touch()
    stubborn = {"what": "ValueError", "at": "__init__", "once": True, "scratch": str(tmp_path)}
    troubled = pool(num_envs=6, env_kwargs=[{"what": "info"}, stubborn, *[{}] * 4])
    troubled.reset()
    for _ in range(3):
        troubled.step(still(6))
    troubled.send(still(1), [0])
    assert until(lambda: troubled._core.stats()["steps"][0] == 4)
    built_once.unlink()
    victim = pids_of(troubled)[0]
    os.kill(victim, signal.SIGKILL)
    assert until(lambda: is_gone(victim))
    assert until(lambda: troubled.call("about", env_id=[5]) and victim not in pids_of(troubled))
    return troubled


def test_a_letter_that_waits_is_written_over_by_the_successor_of_its_worker(
    waiting: Any, tmp_path: Path
) -> None:
    (tmp_path / "once-1").touch()
    assert waiting.call("about", env_id=[2])[0]["pid"] == pids_of(waiting)[-1]
    *_, truncated, info = waiting.recv()
    assert (truncated.tolist(), info["env_id"].tolist(), info["t"].tolist()) == ([True], [0], [4])


def test_a_letter_that_waits_is_thrown_away_when_another_env_cannot_be_built(waiting: Any) -> None:
    with pytest.raises(EnvError, match="env 1: __init__ raised ValueError"):
        waiting.call("about", env_id=[2])
    assert waiting.recv()[4]["t"].tolist() == [4]
    assert waiting.call("about", env_id=[2])[0]["pid"] == pids_of(waiting)[-1]
