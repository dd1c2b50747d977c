"""The fault matrix: whatever an env, a worker, a user or the system does ends in the right error, in time.

Each test bears the name of the fault that it catches.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from envs import STEP_HOOKS
from faulty_envs import Troubled, children_of, descriptors, is_gone, until

import envpool_wrap
from envpool_protocol.errors import (
    EnvError,
    ForkedPoolError,
    NothingPendingError,
    PendingCallError,
    PoolClosedError,
    PoolError,
    PoolTimeout,
    WorkerDied,
)

TESTS = Path(__file__).parent
PROMPT = 2.0  # seconds in which a death must be told; the design says 0.2, on a machine that is not loaded
DEATHS = {"exit3": "exited with code 3", "segv": "was killed by SIGSEGV", "kill9": "was killed by SIGKILL"}
HOW = {
    "inline": {"backend": "inline", "num_threads": 1, "caller_steps": "auto"},
    "thread": {"backend": "thread", "num_threads": 2, "caller_steps": False},
    "process": {"backend": "process", "num_threads": 2, "caller_steps": False},
    "process+caller": {"backend": "process", "num_threads": 2, "caller_steps": True},
    "process-async": {"backend": "process", "num_threads": 2, "batch_size": 2},
}
PROCESS = {"backend": "process", "num_threads": 2, "caller_steps": False}
PROCESSES = ["process", "process+caller", "process-async"]
LOST = ([0, 0, 0, 0], 0.0, False, True)  # the row of an env that failed
UNTOLD = "its exception could not be brought over: its worker has no memory or no space left for it"


@pytest.fixture
def pool(task_id: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`pool(what, at=…, …, **config)` makes a pool of four Troubled envs that is closed after the test."""
    pools: list[Any] = []
    name = task_id(Troubled)

    def make(what: str = "", **settings: Any) -> Any:
        trouble = {
            key: settings.pop(key) for key in ("at", "who", "when", "once", "scratch") if key in settings
        }
        config = {"num_envs": 4, **PROCESS, **settings}
        pools.append(
            envpool_wrap.make(
                name, "gym", env_kwargs={"what": what, "scratch": str(tmp_path), **trouble}, **config
            )
        )
        return pools[-1]

    yield make
    for one in pools:
        with contextlib.suppress(EnvError, WorkerDied, PoolTimeout):
            one.close()
    pools.clear()
    gc.collect()
    assert until(lambda: not children_of(os.getpid())), "a worker process is left"


def still(rows: int) -> Any:
    return np.zeros(rows, np.int64)


def pids_of(pool: Any) -> list[int]:
    found: list[int] = pool._open.processes.pids()
    return found


def receive_all(pool: Any) -> tuple[dict[int, Any], list[Any]]:
    """Rows by env until nothing is in flight, and all failures."""
    rows: dict[int, Any] = {}
    failures: list[Any] = []
    while pool._core.num_in_flight:
        try:
            result = pool.recv()
        except (EnvError, WorkerDied) as error:
            failures += error.errors
            result = error.result
        obs, reward, terminated, truncated, info = result
        for row, env in enumerate(info["env_id"].tolist()):
            rows[env] = (obs[row].tolist(), float(reward[row]), bool(terminated[row]), bool(truncated[row]))
    return rows, failures


def assert_works(pool: Any, envs: list[int] | None = None) -> None:
    """Every env resets and steps; nothing was left over."""
    ids = list(range(len(pool))) if envs is None else envs
    assert pool._core.num_in_flight == 0
    with pytest.raises(NothingPendingError):
        pool.recv()
    pool._send_reset(ids, None, None)
    rows, failures = receive_all(pool)
    assert not failures
    assert {env: row[0][:2] for env, row in rows.items()} == {env: [env, 0] for env in ids}


# ---- exceptions, in every hook and on every backend ----


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("hook", ["_seed_envpool", "_reset_envpool", *STEP_HOOKS])
def test_an_exception_in_a_hook_takes_other_rows_along(pool: Any, how: str, hook: str) -> None:
    troubled = pool("ValueError", at=hook, who=1, once=True, **HOW[how])
    troubled._send_reset(None, None, None)
    rows, failures = receive_all(troubled)
    if hook in STEP_HOOKS:
        assert not failures
        troubled.send(still(4), [0, 1, 2, 3])
        rows, failures = receive_all(troubled)
    (failure,) = failures
    assert (failure.env_id, failure.hook, str(failure.exception)) == (1, hook, "env 1 says no")
    assert "in get_into" in failure.traceback
    assert rows[1] == ([0, 0, 0, 0], 0.0, False, True)
    assert all(rows[env][0][0] == env and not rows[env][3] for env in (0, 2, 3))
    assert_works(troubled)


@pytest.mark.parametrize("how", HOW)
def test_an_exception_in_a_constructor_leaves_a_worker(pool: Any, how: str) -> None:
    with pytest.raises(EnvError, match="env 2: __init__ raised ValueError: env 2 says no") as caught:
        pool("ValueError", at="__init__", who=2, **HOW[how])
    assert [failure.env_id for failure in caught.value.errors] == [2]
    assert until(lambda: not children_of(os.getpid()))


@pytest.mark.parametrize("how", HOW)
def test_an_exception_in_close_keeps_envs_open(pool: Any, how: str, tmp_path: Path) -> None:
    troubled = pool("ValueError", at="_close_envpool", who=1, **HOW[how])
    troubled.async_reset()
    with pytest.raises(EnvError, match="env 1: _close_envpool raised ValueError"):
        troubled.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed-0", "closed-2", "closed-3"]
    troubled.close()


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


# ---- what cannot cross to another process ----


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


@pytest.mark.parametrize("how", PROCESSES)
@pytest.mark.parametrize("hook", ["_seed_envpool", "_reset_envpool", *STEP_HOOKS])
def test_an_exception_that_finds_no_space_is_never_told(pool: Any, how: str, hook: str) -> None:
    troubled = pool("full", at=hook, who=3, once=True, **HOW[how])
    troubled._send_reset(None, None, None)
    rows, failures = receive_all(troubled)
    if hook in STEP_HOOKS:
        assert not failures
        troubled.send(still(4), [0, 1, 2, 3])
        rows, failures = receive_all(troubled)
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


def test_a_letter_that_nobody_reads_ends_the_worker_that_closes_its_env(pool: Any, tmp_path: Path) -> None:
    troubled = pool("info-nowhere", who=3)
    troubled.reset()
    troubled.send(still(4))
    assert until(lambda: troubled._core.stats()["steps"] == [1, 1, 1, 1])
    troubled.close()
    assert {path.name for path in tmp_path.iterdir()} == {f"closed-{env}" for env in range(4)}


# ---- workers that die ----


@pytest.mark.parametrize("what", DEATHS)
@pytest.mark.parametrize("hook", ["_reset_envpool", "_step_envpool", "_reward_envpool", "_info_envpool"])
@pytest.mark.parametrize("how", ["process", "process+caller", "process-async"])
def test_a_dead_worker_takes_other_rows_along(pool: Any, how: str, hook: str, what: str) -> None:
    troubled = pool(what, at=hook, who=3, once=True, **HOW[how])
    troubled._send_reset(None, None, None)
    rows, failures = receive_all(troubled)
    if hook != "_reset_envpool":
        assert not failures
        troubled.send(still(4), [0, 1, 2, 3])
        start = time.monotonic()
        rows, failures = receive_all(troubled)
        print(f"told within {time.monotonic() - start:.3f} s")
        assert time.monotonic() - start < PROMPT
    assert {failure.env_id for failure in failures} <= {2, 3}
    assert 3 in {failure.env_id for failure in failures}
    for failure in failures:
        assert failure.hook == "worker"
        assert DEATHS[what] in str(failure)
    assert rows[3] == ([0, 0, 0, 0], 0.0, False, True)
    for env in (0, 1):
        assert rows[env][0][0] == env
        assert not rows[env][3]
    assert_works(troubled)


@pytest.mark.parametrize("what", DEATHS)
@pytest.mark.parametrize("how", ["process", "process+caller"])
def test_a_worker_that_dies_in_a_constructor_hangs_make(pool: Any, how: str, what: str) -> None:
    gc.collect()
    before = descriptors()
    with pytest.raises(WorkerDied, match=DEATHS[what]) as caught:
        pool(what, at="__init__", who=3, **HOW[how])
    assert 3 in [failure.env_id for failure in caught.value.errors]
    del caught
    gc.collect()
    assert until(lambda: not children_of(os.getpid()))
    assert descriptors() == before


def test_an_intact_row_of_a_dead_worker_hides_that_its_env_starts_afresh(pool: Any) -> None:
    troubled = pool("kill9", who=1, once=True, on_error="restart")
    troubled.reset()
    obs, reward, _, truncated, _ = troubled.step(still(4))
    assert obs[:, :2].tolist() == [[0, 1], [0, 0], [2, 1], [3, 1]]
    assert reward.tolist() == [2, 0, 2, 2]
    assert truncated.tolist() == [True, True, False, False]
    obs, *_ = troubled.step(still(4))
    assert obs[:, :2].tolist() == [[0, 0], [1, 0], [2, 2], [3, 2]]


def test_a_dead_worker_hides_an_exception_and_an_info_from_before(pool: Any) -> None:
    troubled = pool("info", num_envs=3, num_threads=1)
    troubled.reset()
    troubled.call("__setattr__", "what", "ValueError", env_id=[0])
    troubled.call("__setattr__", "what", "kill9", env_id=[2])
    with pytest.raises(PoolError) as caught:
        troubled.step(still(3))
    errors: Any = caught.value
    found = {failure.env_id: failure.hook for failure in errors.errors}
    assert (found[0], found[2]) == ("_step_envpool", "worker")
    obs, *_, info = errors.result
    assert obs[:, 1].tolist() == [0, 1, 0]
    assert info["t"].tolist() == [0, 1, 0]


def test_a_worker_that_dies_while_idle_is_not_missed(pool: Any) -> None:
    troubled = pool()
    troubled.reset()
    victim = pids_of(troubled)[1]
    os.kill(victim, signal.SIGKILL)
    assert until(lambda: is_gone(victim))
    start = time.monotonic()
    with pytest.raises(WorkerDied, match="was killed by SIGKILL") as caught:
        troubled.step(still(4))
    assert time.monotonic() - start < PROMPT
    assert {failure.env_id for failure in caught.value.errors} == {2, 3}
    assert caught.value.result[0][:, 1].tolist() == [1, 1, 0, 0]
    assert_works(troubled)


@pytest.fixture
def bereaved(pool: Any) -> Callable[..., Any]:
    """`bereaved(how)`: envs 2 and 3 are idle, at t = 1; their worker is dead, and a recv of env 0 noticed."""

    def make(how: str, begun: int = 4, **settings: Any) -> Any:
        troubled = pool(**HOW[how], **settings)
        troubled._send_reset(list(range(begun)), None, None)
        assert not receive_all(troubled)[1]
        troubled.send(still(begun), list(range(begun)))
        assert not receive_all(troubled)[1]
        victim = pids_of(troubled)[-1]
        os.kill(victim, signal.SIGKILL)
        assert until(lambda: is_gone(victim))

        def noticed() -> bool:
            troubled.send(still(1), [0])
            assert not receive_all(troubled)[1]
            return victim not in pids_of(troubled)

        assert until(noticed)
        return troubled

    return make


@pytest.mark.parametrize("how", PROCESSES)
def test_an_env_that_was_idle_when_its_worker_died_starts_afresh_and_nobody_is_told(
    bereaved: Any, how: str
) -> None:
    troubled = bereaved(how)
    troubled.send(still(3), [3, 1, 2])
    rows, failures = receive_all(troubled)
    assert rows[2] == rows[3] == LOST
    assert rows[1][0][:2] == [1, 2]
    assert {failure.env_id: failure.hook for failure in failures} == {2: "worker", 3: "worker"}
    assert all("was killed by SIGKILL" in str(failure) for failure in failures)
    assert [failure.elapsed_step for failure in failures] == [1, 1]
    for t in range(2):  # told once; then they go on
        troubled.send(still(2), [2, 3])
        rows, failures = receive_all(troubled)
        assert not failures
        assert {env: row[0][:2] for env, row in rows.items()} == {2: [2, t], 3: [3, t]}
    assert_works(troubled)


@pytest.mark.parametrize("how", PROCESSES)
def test_an_env_that_was_idle_when_its_worker_died_is_restarted_uncounted(bereaved: Any, how: str) -> None:
    troubled = bereaved(how, on_error="restart", max_restarts=1)
    troubled.send(still(2), [2, 3])
    rows, failures = receive_all(troubled)
    assert (rows, failures) == ({2: LOST, 3: LOST}, [])
    assert troubled.stats()["restarts"] == [0, 0, 1, 1]
    assert troubled.stats()["episodes"] == [0, 0, 1, 1]
    for t in range(2):
        troubled.send(still(2), [2, 3])
        rows, _ = receive_all(troubled)
        assert {env: row[0][:2] for env, row in rows.items()} == {2: [2, t], 3: [3, t]}
    assert_works(troubled)


@pytest.mark.parametrize("how", PROCESSES)
def test_a_restart_for_one_env_hides_what_another_lost(bereaved: Any, how: str) -> None:
    troubled = bereaved(how)
    for expected in (LOST[0], [2, 0], [2, 1]):
        troubled.send(still(1), [2])
        rows, failures = receive_all(troubled)
        assert rows[2][0][:2] == expected[:2]
        assert [failure.env_id for failure in failures] == ([2] if expected == LOST[0] else [])
    assert troubled.call("about", env_id=[3])[0]["pid"] == pids_of(troubled)[-1]
    troubled.send(still(2), [2, 3])
    rows, failures = receive_all(troubled)
    assert (rows[2][0][:2], rows[3]) == ([2, 2], LOST)
    assert [failure.env_id for failure in failures] == [3]
    assert_works(troubled)


@pytest.mark.parametrize("how", PROCESSES)
def test_a_reset_of_an_env_that_lost_its_worker_fails(bereaved: Any, how: str) -> None:
    troubled = bereaved(how)
    troubled._send_reset([2], None, None)
    rows, failures = receive_all(troubled)
    assert (rows[2][0][:2], failures) == ([2, 0], [])
    troubled.send(still(2), [2, 3])
    rows, failures = receive_all(troubled)
    assert (rows[2][0][:2], rows[3]) == ([2, 1], LOST)
    assert [failure.env_id for failure in failures] == [3]
    assert_works(troubled)


@pytest.mark.parametrize("how", PROCESSES)
def test_an_env_that_had_not_begun_loses_an_episode_to_its_dead_worker(bereaved: Any, how: str) -> None:
    troubled = bereaved(how, begun=2)
    troubled.send(still(2), [2, 3])
    rows, failures = receive_all(troubled)
    assert ({env: row[0][:2] for env, row in rows.items()}, failures) == ({2: [2, 0], 3: [3, 0]}, [])


def test_a_restart_of_a_worker_hides_a_failure_that_was_not_received_yet(pool: Any) -> None:
    troubled = pool(**{**HOW["process-async"], "batch_size": 1})
    troubled.async_reset()
    receive_all(troubled)
    troubled.call("__setattr__", "what", "kill9", env_id=[2])
    troubled.send(still(2), [2, 3])
    with pytest.raises(WorkerDied) as caught:
        troubled.recv()
    (first,) = caught.value.errors
    troubled.send(still(1), [first.env_id])
    _, failures = receive_all(troubled)
    assert [failure.env_id for failure in failures] == [5 - first.env_id]
    assert_works(troubled)


def test_both_workers_dead_is_too_much(pool: Any) -> None:
    troubled = pool()
    for _ in range(2):
        troubled.reset()
        for pid in pids_of(troubled):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerDied) as caught:
            troubled.step(still(4))
        assert {failure.env_id for failure in caught.value.errors} == {0, 1, 2, 3}
        assert not caught.value.result[0].any()
        assert_works(troubled)


@pytest.mark.parametrize("what", DEATHS)
def test_a_worker_that_dies_in_a_call_hangs_it(pool: Any, what: str) -> None:
    troubled = pool()
    troubled.reset()
    with pytest.raises(WorkerDied, match=DEATHS[what]):
        troubled.call("get_into", what, env_id=[1])
    obs, *_ = troubled.step(still(2), [2, 3])
    assert obs[:, 1].tolist() == [1, 1]
    assert_works(troubled)


def test_a_worker_that_dies_when_built_again_hangs_send(pool: Any) -> None:
    troubled = pool("kill9", who=3, once=True)
    troubled.reset()
    with pytest.raises(WorkerDied):
        troubled.step(still(4))
    for at in range(2):  # the next ones die in the constructor
        troubled._open.processes._orders["factory"] = _dying_factory()
        with pytest.raises(WorkerDied, match="exited with code 3"):
            troubled.step(still(4)) if at else troubled.reset()
        assert troubled._core.num_in_flight == 0
    obs, *_ = troubled.step(still(2), [0, 1])
    assert obs[:, 1].tolist() == [2, 2]


def _dying_factory() -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(lambda env_id: os._exit(3))
    return data


def test_an_env_that_cannot_be_built_again_is_stepped_all_the_same(pool: Any, tmp_path: Path) -> None:
    import cloudpickle

    troubled = pool("kill9", who=3, once=True)
    troubled.reset()
    with pytest.raises(WorkerDied):
        troubled.step(still(4))
    good = troubled._open.processes._orders["factory"]
    broken = tmp_path / "broken"
    broken.touch()

    def flaky(env_id: int) -> Any:
        if broken.exists() and env_id == 3:
            raise ValueError("still broken")
        return cloudpickle.loads(good)(env_id)

    troubled._open.processes._orders["factory"] = cloudpickle.dumps(flaky)
    for _ in range(3):
        with pytest.raises(EnvError, match="env 3: __init__ raised ValueError: still broken"):
            troubled.reset()
    obs, *_ = troubled.step(still(3), [0, 1, 2])
    assert obs[:, :2].tolist() == [[0, 1], [1, 1], [2, 1]]
    broken.unlink()
    assert_works(troubled)


def test_a_dead_worker_starves_silently_while_the_others_are_quick(pool: Any) -> None:
    troubled = pool("kill9", who=3, **HOW["process-async"])
    troubled.async_reset()
    seen = 0
    deadline = time.monotonic() + 10
    with pytest.raises(WorkerDied):
        while time.monotonic() < deadline:
            *_, info = troubled.recv()
            seen += 1
            troubled.send(still(len(info["env_id"])), info["env_id"])
            time.sleep(0.02)  # a policy slower than the envs: the next batch is there when it is asked for
    assert seen < 200


def test_a_dead_worker_makes_send_wait_for_a_hung_env(pool: Any, tmp_path: Path) -> None:
    troubled = pool("hang", **HOW["process-async"])
    troubled.async_reset()
    receive_all(troubled)
    troubled.send(still(1), [0])
    troubled.send(still(2), [2, 3])
    assert until((tmp_path / "hangs-0").exists)
    assert until((tmp_path / "hangs-2").exists)
    os.kill(pids_of(troubled)[1], signal.SIGKILL)
    with pytest.raises(WorkerDied):
        troubled.recv()
    start = time.monotonic()
    done = threading.Event()
    guard = threading.Timer(15, lambda: done.is_set() or _kill(pids_of(troubled)[0]))
    guard.start()
    troubled.send(still(1), [3])
    done.set()
    guard.cancel()
    assert time.monotonic() - start < 10


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_killed_workers_lose_double_or_swap_rows(pool: Any) -> None:
    """Workers are killed at random moments; each env's steps stay in order, and each loss is told."""
    dice = random.Random(1)
    for how in ("process", "process-async"):
        troubled = pool(num_envs=6, **HOW[how])
        troubled._send_reset(None, None, None)
        clock = dict.fromkeys(range(6), -1.0)
        kills = deaths = 0
        deadline = time.monotonic() + 60
        while deaths < 8 and time.monotonic() < deadline:
            if kills == deaths and dice.random() < 0.1:
                killer = threading.Timer(dice.random() * 2e-3, _kill, pids_of(troubled)[:1] or [0])
                if pids_of(troubled):
                    killer.start()
                    kills += 1
            try:
                obs, _, _, truncated, info = troubled.recv()
            except WorkerDied as error:
                deaths += 1
                kills = deaths
                obs, _, _, truncated, info = error.result
            ids = info["env_id"]
            for env, row, cut in zip(ids.tolist(), obs, truncated.tolist(), strict=True):
                if row[2] == 0:  # a failed row
                    assert cut
                    clock[env] = -1
                    continue
                assert (row[0], row[1]) == (env, clock[env] + 1)
                clock[env] = -1 if cut else row[1]
            troubled.send(still(len(ids)), ids)
        assert deaths == 8
        troubled.close()


# ---- on_error="restart" ----


@pytest.mark.parametrize("how", ["thread", "process"])
@pytest.mark.parametrize("what", ["ValueError", "kill9"])
def test_restart_gives_up_too_early_or_never(pool: Any, how: str, what: str, tmp_path: Path) -> None:
    if (how, what) == ("thread", "kill9"):
        pytest.skip("a thread cannot be killed")
    troubled = pool(what, who=1, on_error="restart", max_restarts=3, **HOW[how])
    troubled.reset()
    for _ in range(3):
        obs, _, terminated, truncated, _ = troubled.step(still(4))
        assert truncated[1]
        assert not terminated.any()
        assert obs[2:, 1].min() > 0
        obs, *_ = troubled.step(still(4))
        assert obs[1, :2].tolist() == [1, 0]
    with pytest.raises(WorkerDied if what == "kill9" else EnvError):
        troubled.step(still(4))
    assert troubled.stats()["restarts"][1] == 3


@pytest.mark.parametrize("how", ["process", "process+caller"])
def test_a_worker_that_dies_while_an_env_is_rebuilt_hangs_recv(pool: Any, how: str) -> None:
    # The env raises in its step, and dies when it is closed to be built again.
    settings = {**HOW[how], "caller_steps": how == "process+caller"}
    troubled = pool("ValueError", who=3, once=True, on_error="restart", **settings)
    troubled.reset()
    troubled.set_attr("_close_envpool", _Dying(), env_id=[3])
    with contextlib.suppress(WorkerDied):
        _, _, _, truncated, _ = troubled.step(still(4))
        assert truncated.tolist()[3]
    assert_works(troubled)


class _Dying:
    def __call__(self) -> None:
        os._exit(3)


# ---- envs that hang ----


@pytest.mark.parametrize("how", ["thread", "process", "process-async"])
def test_a_hung_env_is_not_named(pool: Any, how: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("envpool_wrap.core.CLOSE_DEADLINE", 1.0)
    troubled = pool("hang", who=1, timeout=0.3, **HOW[how])
    troubled.async_reset()
    while troubled._core.num_in_flight:
        with contextlib.suppress(PoolTimeout):
            troubled.recv()
    troubled.send(still(2), [1, 3])
    assert until((tmp_path / "hangs-1").exists)
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(PoolTimeout, match=r"still running: env 1 for \d+\.\d s; waiting for a worker: 0"):
            troubled.recv()
            troubled.recv()
        assert 0.25 < time.monotonic() - start < PROMPT
    start = time.monotonic()
    with pytest.raises(PoolTimeout) if how == "thread" else contextlib.nullcontext():
        troubled.close()
    assert time.monotonic() - start < 1 + PROMPT
    if how != "thread":
        assert is_gone(int((tmp_path / "hangs-1").read_text()))
        assert {path.name for path in tmp_path.iterdir()} >= {"closed-2", "closed-3"}


@pytest.mark.parametrize("at", ["_close_envpool", "_reset_envpool"])
def test_a_hung_env_keeps_close_from_ending(pool: Any, at: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("envpool_wrap.core.CLOSE_DEADLINE", 1.0)
    troubled = pool("hang", at=at, who=0, caller_steps=True, num_threads=4)
    workers = pids_of(troubled)
    troubled.set_attr("what", "", env_id=[0])
    troubled.set_attr("who", 3)
    troubled.set_attr("what", "hang", env_id=[3])
    if at == "_reset_envpool":
        troubled.async_reset()
        assert until((tmp_path / "hangs-3").exists)
    start = time.monotonic()
    troubled.close()
    assert time.monotonic() - start < 1 + PROMPT
    assert all(map(is_gone, workers))
    assert {path.name for path in tmp_path.iterdir()} == {"closed-0", "closed-1", "closed-2", "hangs-3"}


def test_an_interrupt_does_not_reach_recv(pool: Any, tmp_path: Path) -> None:
    troubled = pool("hang", who=1)
    troubled.reset()
    troubled.send(still(4))
    assert until((tmp_path / "hangs-1").exists)
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.2, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        troubled.recv()
    took = time.monotonic() - sent[0]
    print(f"interrupted within {took:.3f} s")
    assert took < PROMPT
    os.kill(int((tmp_path / "hangs-1").read_text()), signal.SIGKILL)
    with pytest.raises(WorkerDied) as caught:
        troubled.recv()
    assert caught.value.result[0][:, 1].tolist()[2:] == [1, 1]
    assert_works(troubled)


# ---- two callers, close, garbage ----


@pytest.mark.parametrize("how", ["thread", "process"])
def test_closing_while_a_step_runs_ends_the_workers_under_it(pool: Any, how: str, tmp_path: Path) -> None:
    troubled = pool("hang", who=1, timeout=1.0, **HOW[how])
    troubled.reset()
    caught: list[BaseException] = []

    def step() -> None:
        try:
            troubled.step(still(4))
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=step)
    thread.start()
    assert until((tmp_path / "hangs-1").exists)
    start = time.monotonic()
    with pytest.raises(PendingCallError):
        troubled.close()
    assert time.monotonic() - start < 0.9
    thread.join(20)
    assert [type(error) for error in caught] == [PoolTimeout]
    assert repr(troubled).count("closed") == 0
    if how == "thread":
        return
    os.kill(int((tmp_path / "hangs-1").read_text()), signal.SIGKILL)
    with pytest.raises(WorkerDied):
        troubled.recv()
    assert_works(troubled)


def test_a_pool_dies_with_the_thread_that_made_it(pool: Any) -> None:
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(pool()))
    thread.start()
    thread.join()
    assert not Path(f"/proc/self/task/{thread.native_id}").exists()
    time.sleep(0.3)  # a parent-death signal would be there by now
    made[0].reset()
    assert made[0].step(still(4))[0][:, 1].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("in_flight", [False, True])
def test_a_pool_that_nobody_closes_leaves_processes(pool: Any, task_id: Any, in_flight: bool) -> None:
    before = descriptors()
    lost = envpool_wrap.make(task_id(Troubled), "gym", num_envs=4, **PROCESS)
    workers = pids_of(lost)
    lost.reset()
    if in_flight:
        lost.send(still(4))
    del lost
    gc.collect()
    assert all(map(is_gone, workers))
    assert descriptors() == before


# ---- fork ----


def in_child(body: Callable[[], Any]) -> None:
    """Fork, run `body` in the child, and see that it ends well and in time."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    ended: list[int] = []

    def reaped() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.append(os.waitstatus_to_exitcode(status) if pid else -1)
        return pid == child

    if not until(reaped):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the forked child hangs")
    assert ended[-1] == 0


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("how", ["inline", "thread", "process", "process+caller"])
def test_a_forked_child_uses_or_ends_the_pool(pool: Any, how: str) -> None:
    mine = pool(**HOW[how])
    mine.reset()

    def body() -> None:
        for use in (mine.reset, mine.recv, lambda: mine.step(still(4)), lambda: mine.call("about")):
            with pytest.raises(ForkedPoolError):
                use()
        with pytest.raises(ForkedPoolError):
            mine.close()
        mine._finalizer()
        mine.__dict__.clear()
        gc.collect()

    in_child(body)
    assert mine.step(still(4))[0][:, 1].tolist() == [1, 1, 1, 1]


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("how", ["thread", "process"])
def test_arrays_change_under_a_forked_child(pool: Any, how: str) -> None:
    mine = pool(**HOW[how])
    mine.reset()
    held = mine.step(still(4))[0]
    turn_r, turn_w = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(turn_r, 1)
        os._exit(0 if held[:, 1].tolist() == [1, 1, 1, 1] else 1)
    del held
    for t in range(2, 30):
        assert mine.step(still(4))[0][:, 1].tolist() == [t] * 4
    os.write(turn_w, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(turn_r)
    os.close(turn_w)


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_forked_during_a_step_ends_the_workers(pool: Any, tmp_path: Path) -> None:
    mine = pool("hang", who=1)
    mine.reset()
    mine.send(still(4))
    caught: list[BaseException] = []

    def receive() -> None:
        try:
            mine.recv()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    assert until((tmp_path / "hangs-1").exists)
    hung = int((tmp_path / "hangs-1").read_text())

    def body() -> None:
        with pytest.raises(ForkedPoolError):
            mine.reset()
        mine._finalizer()

    try:
        in_child(body)
        assert not is_gone(hung)
        assert thread.is_alive()
    finally:
        _kill(hung)
        thread.join(20)
    assert [type(error) for error in caught] == [WorkerDied]


# ---- envs that do what they like with their process ----


@pytest.mark.parametrize("what", ["chatter", "fork", "thread", "wander", "deny_term"])
def test_a_worker_is_upset_by_what_its_env_does(pool: Any, what: str, capfd: Any) -> None:
    mine = pool(what, when=-1)
    mine.reset()
    workers = pids_of(mine)
    for t in (1, 2):
        assert mine.step(still(4))[0][:, 1].tolist() == [t] * 4
    start = time.monotonic()
    mine.close()
    assert time.monotonic() - start < 5
    assert all(map(is_gone, workers))
    if what == "chatter":
        assert capfd.readouterr().out.count("x") == 8 * 64 * 65536


@pytest.mark.parametrize("what", ["spawn", "fork_and_stay"])
@pytest.mark.parametrize("end", ["close", "kill"])
def test_what_an_env_started_outlives_its_worker(pool: Any, what: str, end: str) -> None:
    mine = pool()
    mine.reset()
    started = mine.call("get_into", what)
    assert not any(map(is_gone, started))
    if end == "kill":
        for pid in pids_of(mine):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            mine.step(still(4))
        assert until(lambda: all(map(is_gone, started)), PROMPT)
    mine.close()
    assert until(lambda: all(map(is_gone, started)), PROMPT)


def test_an_env_out_of_memory_hangs_the_pool(pool: Any) -> None:
    mine = pool("starve", who=1)
    mine.reset()
    with pytest.raises(EnvError, match="env 1: _step_envpool raised MemoryError"):
        mine.step(still(4))
    assert mine.step(still(4))[0][:, 1].tolist() == [2, 0, 2, 2]


def test_a_closed_pool_starts_workers_again(pool: Any) -> None:
    mine = pool()
    os.kill(pids_of(mine)[0], signal.SIGKILL)
    start = time.monotonic()
    mine.close()
    assert time.monotonic() - start < PROMPT
    with pytest.raises(PoolClosedError):
        mine.reset()
    assert not children_of(os.getpid())


# ---- scripts: limits, signals, exits ----

HEAD = """
import gc, os, resource, signal, sys, threading, time
from pathlib import Path
import numpy as np
import envpool_wrap
from envpool_protocol.errors import *
from faulty_envs import *
NAME, SCRATCH = sys.argv[1:3]
def make(what="", backend="process", num_threads=2, num_envs=4, at="_step_envpool", who=None, **config):
    trouble = {"what": what, "at": at, "who": who, "scratch": SCRATCH}
    return envpool_wrap.make(
        NAME, "gym", num_envs=num_envs, num_threads=num_threads, backend=backend, env_kwargs=trouble, **config
    )
def workers(pool): return pool._open.processes.pids()
def still(rows): return np.zeros(rows, np.int64)
def say(*words): print(*words, flush=True)
"""


@pytest.fixture
def script(task_id: Any, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`script(body)` starts a Python process of its own group that runs HEAD and the body."""
    started = []
    name = task_id(Troubled)

    def start(body: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", HEAD + body, name, str(tmp_path)],
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def words_of(process: subprocess.Popen[str], first: str) -> list[int]:
    """The numbers of the line that starts with this word."""
    assert process.stdout is not None
    while line := process.stdout.readline():
        word, *numbers = line.split()
        if word == first:
            return [int(number) for number in numbers]
    raise AssertionError(f"no {first!r}; stderr: {process.stderr and process.stderr.read()}")


def finish(process: subprocess.Popen[str]) -> str:
    """Its output; it must end well and say nothing on stderr."""
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), f"{out}\n{err}"
    return out


@pytest.mark.parametrize("busy", ["idle", "hang", "spawn"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_outlive_a_killed_parent(
    script: Any, number: signal.Signals, busy: str, tmp_path: Path
) -> None:
    shared = set(Path("/dev/shm").iterdir())
    process = script(f"""
pool = make({busy!r} if {busy!r} == "hang" else "", who=1, caller_steps=False)
pool.reset()
if {busy!r} == "hang":
    pool.send(still(4))
    assert until((Path(SCRATCH) / "hangs-1").exists)
others = pool.call("get_into", "spawn") if {busy!r} == "spawn" else []
say("workers", *workers(pool), *others)
pool.recv() if {busy!r} == "hang" else signal.pause()
""")
    pids = words_of(process, "workers")
    assert len(pids) == (6 if busy == "spawn" else 2)
    start = time.monotonic()
    os.kill(process.pid, number)
    assert until(lambda: all(map(is_gone, pids)), PROMPT)
    print(f"gone within {time.monotonic() - start:.3f} s")
    assert process.wait(10) == -number
    assert set(Path("/dev/shm").iterdir()) == shared


def test_workers_outlive_a_parent_that_is_killed_while_they_start(script: Any, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "slow_to_import.py").write_text(
        "import os, sys, time\n"
        "def wait():\n"
        f"    open({str(tmp_path / 'importing')!r}, 'w').write(str(os.getpid()))\n"
        "    time.sleep(3600)\n"
        "class Slow:\n"
        "    def __reduce__(self): return wait, ()\n"
    )
    process = script(f"""
sys.path.append({str(slow)!r})
import slow_to_import
say("making")
envpool_wrap.make(NAME, "gym", num_envs=4, num_threads=2, backend="process",
                  env_kwargs={{"what": slow_to_import.Slow()}})
""")
    words_of(process, "making")
    assert until(lambda: (tmp_path / "importing").exists() and (tmp_path / "importing").read_text())
    pids = children_of(process.pid)
    assert pids
    os.kill(process.pid, signal.SIGKILL)
    assert until(lambda: all(map(is_gone, pids)), PROMPT)


def test_an_interrupt_of_the_group_kills_the_workers(script: Any) -> None:
    process = script("""
pool = make("hang", who=1, caller_steps=False)
pool.reset()
pool.send(still(4))
assert until((Path(SCRATCH) / "hangs-1").exists)
try:
    say("workers", *workers(pool))
    pool.recv()
except KeyboardInterrupt:
    say("interrupted", sum(map(is_gone, workers(pool))))
os.kill(int((Path(SCRATCH) / "hangs-1").read_text()), signal.SIGKILL)
try:
    pool.recv()
except WorkerDied as error:
    say("told", *error.result[0][2:, 1].astype(int))
pool.close()
say("left", *children_of(os.getpid()))
""")
    pids = words_of(process, "workers")
    assert all(os.getpgid(pid) == pid for pid in pids)
    os.killpg(process.pid, signal.SIGINT)
    assert words_of(process, "interrupted") == [0]
    assert words_of(process, "told") == [1, 1]
    assert words_of(process, "left") == []
    finish(process)


@pytest.mark.parametrize("state", ["idle", "in flight", "hangs", "in a thread"])
@pytest.mark.parametrize("backend", ["process", "thread"])
def test_an_exit_with_an_open_pool_hangs_or_crashes(script: Any, state: str, backend: str) -> None:
    process = script(f"""
import envpool_wrap.core
envpool_wrap.core.CLOSE_DEADLINE = 1.0
state = {state!r}
pool = make("" if state in ("idle", "in flight") else "hang", backend={backend!r}, who=1, caller_steps=False)
held = pool.reset()
sys.pool = pool  # a reference that lives as long as the interpreter
if state != "idle":
    pool.send(still(4))
if state in ("hangs", "in a thread"):
    assert until((Path(SCRATCH) / "hangs-1").exists)
if state == "in a thread":
    inside = threading.Event()
    def receive():
        inside.set()
        pool.recv()
    threading.Thread(target=receive, daemon=True).start()
    inside.wait()
    time.sleep(0.1)
say("workers", *(workers(pool) if {backend!r} == "process" else []))
""")
    pids = words_of(process, "workers")
    start = time.monotonic()
    finish(process)
    assert time.monotonic() - start < 1 + 10
    assert until(lambda: all(map(is_gone, pids)), PROMPT)


def test_out_of_descriptors_leaves_something_behind(script: Any) -> None:
    process = script("""
make(num_threads=3).close()
gc.collect()
before = descriptors()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
used = len(os.listdir("/proc/self/fd"))
told = set()
for spare in range(0, 40):
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, hard))
    try:
        make(num_threads=3).close()
        break
    except (OSError, PoolError) as error:
        told.add(f"{type(error).__name__}: {error}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    gc.collect()
    assert not children_of(os.getpid()), (spare, children_of(os.getpid()))
    assert descriptors() == before, (spare, set(descriptors()) - set(before))
say("succeeded with", spare)
for text in told:
    say("told", text.replace("\\n", " "))
    assert "Too many open files" in text, text
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
with make() as pool:
    pool.reset()
assert descriptors() == before
""")
    out = finish(process)
    print(out)
    assert "succeeded" in out
    assert "told" in out


def test_out_of_descriptors_at_a_restart_starts_a_worker_twice(script: Any) -> None:
    process = script("""
pool = make(num_threads=3, num_envs=6)  # the caller and two processes
pool.reset()
before = len(descriptors())
for round in range(3):
    for pid in workers(pool):
        os.kill(pid, signal.SIGKILL)
    try:
        pool.step(still(6))
    except WorkerDied:
        pass
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    refused = 0
    for spare in range(0, 30):
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, hard))
        try:
            pool.reset()
            break
        except (OSError, PoolError) as error:
            assert "Too many open files" in str(error), error
            refused += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(children_of(os.getpid())) == 0, children_of(os.getpid())
    assert refused
    assert len(children_of(os.getpid())) == 2
    assert pool.step(still(6))[0][:, 1].tolist() == [1] * 6
    assert len(descriptors()) == before, (before, descriptors())
pool.close()
assert not children_of(os.getpid())
""")
    finish(process)


def test_out_of_address_space_is_unclear(script: Any) -> None:
    process = script("""
make(num_threads=2).close()
gc.collect()
before = descriptors()
limits = resource.getrlimit(resource.RLIMIT_AS)
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
for backend in ("inline", "process"):
    resource.setrlimit(resource.RLIMIT_AS, (now + (64 << 20), limits[1]))
    try:
        make(backend=backend, num_threads=0 if backend == "inline" else 2, num_envs=4000)
        raise AssertionError("no error")
    except (MemoryError, PoolError, OSError) as error:
        told = f"{type(error).__name__}: {error}"
        say("told", told)
        assert "no memory for a pool's batches" in told, told
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    gc.collect()
    assert not children_of(os.getpid())
    assert descriptors() == before
with make() as pool:
    pool.reset()
""")
    out = finish(process)
    print(out)


def test_pools_that_come_and_go_leave_something(script: Any) -> None:
    finish(script(COME_AND_GO.format(processes=10, threads=60)))


@pytest.mark.slow
def test_many_pools_that_come_and_go_leave_something(script: Any) -> None:
    finish(script(COME_AND_GO.format(processes=50, threads=300)))


COME_AND_GO = """
def memory():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
def live(backend, count):
    for _ in range(count):
        with make(backend=backend, caller_steps=False) as pool:
            pool.reset()
            held = pool.step(still(4))
for backend, warm, count in (("thread", 20, {threads}), ("process", 3, {processes})):
    live(backend, warm)
    before = descriptors(), len(os.listdir("/proc/self/task")), memory()
    live(backend, count)
    after = descriptors(), len(os.listdir("/proc/self/task")), memory()
    assert before[:2] == after[:2], (before, after)
    assert after[2] - before[2] < 4 << 20, (before[2], after[2])
assert not children_of(os.getpid())
"""
