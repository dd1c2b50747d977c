"""A pool ends: every env is closed once, no exit hangs or crashes, and a hung env holds nobody up."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from envs import Counting, Gated, idle_actions

import envpool_wrap
from envpool_protocol.errors import PoolClosedError, PoolTimeout

TESTS = Path(__file__).parent


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of the Counting envs whose close was called."""
    ids: list[int] = []
    monkeypatch.setattr(Counting, "_close_envpool", lambda self: ids.append(self.envid))
    return ids


@pytest.fixture
def name(task_id: Any) -> str:
    found: str = task_id(Counting)
    return found


def test_close_misses_an_env_or_closes_one_twice(name: str, backend: str, closed: list[int]) -> None:
    pool = envpool_wrap.make(name, "gym", num_envs=5, backend=backend)
    pool.step(idle_actions(Counting, 2), [0, 3])
    pool.send(idle_actions(Counting, 2), [1, 2])
    for _ in range(3):
        pool.close()
    assert sorted(closed) == [0, 1, 2, 3, 4]


def test_leaving_the_with_block_leaves_the_pool_open(name: str, backend: str, closed: list[int]) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        envpool_wrap.make(name, "gym", num_envs=2, backend=backend) as pool,
    ):
        pool.reset()
        raise ZeroDivisionError
    assert sorted(closed) == [0, 1]
    with pytest.raises(PoolClosedError):
        pool.reset()


@pytest.mark.parametrize("env_type", ["gym", "gymnasium", "dm"])
def test_a_pool_that_nobody_closes_stays(name: str, backend: str, env_type: str, closed: list[int]) -> None:
    pool = envpool_wrap.make(name, env_type, num_envs=2, backend=backend)
    pool.reset()
    pool.send(idle_actions(Counting, 2))
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert sorted(closed) == [0, 1]


def test_envs_outlive_their_pool(name: str, backend: str) -> None:
    pool = envpool_wrap.make(name, "gym", num_envs=2, backend=backend)
    pool.step(np.zeros((2, 1), np.float32))
    envs = [weakref.ref(env) for env in pool.call("__getattribute__", "__class__") and pool._envs(None)]
    assert all(env() is not None for env in envs)
    pool.close()
    assert all(env() is None for env in envs)


def test_workers_outlive_their_pool(name: str) -> None:
    def workers() -> int:
        return sum(
            task.joinpath("comm").read_text().startswith("envpool-")
            for task in Path("/proc/self/task").iterdir()
        )

    if not Path("/proc/self/task").exists():
        pytest.skip("no /proc here")
    before = workers()
    pool = envpool_wrap.make(name, "gym", num_envs=3, num_threads=3, backend="thread")
    assert workers() == before + 3
    pool.close()
    assert workers() == before


def test_closing_waits_for_ever_on_a_hung_env(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool_wrap.pool.CLOSE_DEADLINE", 0.1)
    pool = make(Gated, num_envs=2, backend="thread", num_threads=2)
    obs, _ = pool.reset()
    Gated.shut(1)
    pool.send(np.zeros(2, int))
    Gated.entered[1].wait()
    start = time.monotonic()
    with pytest.raises(PoolTimeout, match=r"did not return within 0\.1 s of close"):
        pool.close()
    assert time.monotonic() - start < 2
    with pytest.raises(PoolClosedError):
        pool.recv()
    pool.close()
    assert obs.tolist() == [[0, 0], [1, 0]]
    Gated.open(1)  # the thread that was left behind goes on with memory that is still there


def test_closing_waits_for_ever_on_a_hung_close(
    make: Any, monkeypatch: pytest.MonkeyPatch, task_id: Any
) -> None:
    monkeypatch.setattr("envpool_wrap.pool.CLOSE_DEADLINE", 0.1)
    gate = threading.Event()
    pool = make(Counting, num_envs=2, backend="thread")
    monkeypatch.setattr(Counting, "_close_envpool", lambda self: gate.wait(60))
    with pytest.raises(PoolTimeout):
        pool.close()
    gate.set()


def test_many_pools_come_and_go_at_once(name: str, backend: str, closed: list[int]) -> None:
    faults: list[BaseException] = []

    def live() -> None:
        try:
            for _ in range(20):
                with envpool_wrap.make(name, "gym", num_envs=3, backend=backend) as pool:
                    pool.reset()
                    assert pool.step(idle_actions(Counting, 3))[0][:, 1].tolist() == [1, 1, 1]
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=live) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(closed) == 4 * 20 * 3


# The exit of the interpreter


def run(name: str, body: str) -> subprocess.CompletedProcess[str]:
    code = f"""
import sys, threading
sys.path.insert(0, {str(TESTS)!r})
import envs, envpool_wrap, envpool_wrap.pool
import numpy as np
from envpool_protocol import EnvManager
EnvManager.register_env(envs.Counting)
{body}
"""
    code = code.replace("NAME", repr(name))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_the_exit_leaves_envs_open(name: str, backend: str) -> None:
    body = f"""
pool = envpool_wrap.make(NAME, "gym", num_envs=2, backend={backend!r})
envs.Counting._close_envpool = lambda self: print("closed", self.envid)
pool.reset()
pool.send(np.zeros((2, 1), np.float32))
"""
    done = run(name, body)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split("\n")) == ["", "closed 0", "closed 1"]


def test_an_array_that_lives_until_the_exit_crashes_it(name: str, backend: str) -> None:
    body = f"""
pool = envpool_wrap.make(NAME, "gym", num_envs=2, backend={backend!r})
sys.held = pool.reset()
sys.pool = pool
pool.self = pool
"""
    done = run(name, body)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "hang", ["while True: pass", "threading.Event().wait(60)", "while True: threading.Event().wait(1e-3)"]
)
def test_a_hung_env_crashes_the_exit_or_holds_it_up(name: str, hang: str) -> None:
    body = f"""
envpool_wrap.pool.CLOSE_DEADLINE = 0.1
pool = envpool_wrap.make(NAME, "gym", num_envs=2, backend="thread")
pool.reset()
entered = threading.Event()
def step(action):
    entered.set()
    {hang}
pool.set_attr("_step_envpool", step, env_id=0)
pool.send(np.zeros((2, 1), np.float32))
entered.wait()
print("leaving", flush=True)
"""
    start = time.monotonic()
    done = run(name, body)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "leaving", "")
    assert time.monotonic() - start < 20
