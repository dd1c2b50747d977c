"""Workers that die: in a hook, while idle, in a call, again and again."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from faulty_envs import is_gone, until
from troubled_pools import DEATHS, HOW, PROMPT, assert_works, kill, pids_of, receive_all, still

from envpool_protocol.errors import EnvError, PoolError, WorkerDied


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


@pytest.mark.parametrize("request_", ["step", "reset", "call"])
def test_a_worker_that_dies_while_another_starts_again_hangs_its_envs(
    pool: Any, monkeypatch: pytest.MonkeyPatch, request_: str
) -> None:
    troubled = pool()
    troubled.reset()
    first, second = pids_of(troubled)
    kill(first)
    with pytest.raises(WorkerDied):
        troubled.step(still(4))
    processes = troubled._open.processes
    start = processes.start

    def start_late(queues: list[int]) -> None:
        start(queues)
        monkeypatch.undo()
        kill(second)
        assert until(processes.died)

    monkeypatch.setattr(processes, "start", start_late)
    if request_ == "step":
        with pytest.raises(WorkerDied) as caught:
            troubled.step(still(4))
        assert {failure.env_id for failure in caught.value.errors} == {2, 3}
        assert caught.value.result[0][:, :2].tolist() == [[0, 0], [1, 0], [0, 0], [0, 0]]
    elif request_ == "reset":
        assert troubled.reset()[0][:, :2].tolist() == [[0, 0], [1, 0], [2, 0], [3, 0]]
    else:
        assert {about["pid"] for about in troubled.call("about")} == set(pids_of(troubled))
    assert second not in pids_of(troubled)
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
    guard = threading.Timer(15, lambda: done.is_set() or kill(pids_of(troubled)[0]))
    guard.start()
    troubled.send(still(1), [3])
    done.set()
    guard.cancel()
    assert time.monotonic() - start < 10


@pytest.mark.timeout(300)
def test_killed_workers_lose_double_or_swap_rows(pool: Any) -> None:
    """Workers are killed at random moments; each env's steps stay in order, and each loss is told."""
    dice = random.Random(1)
    for how in ("process", "process-async"):
        troubled = pool(num_envs=6, **HOW[how])
        troubled._send_reset(None, None, None)
        clock = dict.fromkeys(range(6), -1.0)
        deaths, victim = 0, None
        while deaths < 8:
            if victim not in pids_of(troubled):  # told, or it died before an episode began: nothing was lost
                victim = None
            if victim is None and dice.random() < 0.1:
                for victim in pids_of(troubled)[:1]:
                    threading.Timer(dice.random() * 2e-3, kill, [victim]).start()
            try:
                obs, _, _, truncated, info = troubled.recv()
            except WorkerDied as error:
                deaths += 1
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
        troubled.close()


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
