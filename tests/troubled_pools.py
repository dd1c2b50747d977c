"""Pools of `faulty_envs.Troubled`, and what the tests of faults ask of them."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from envs import STEP_HOOKS
from faulty_envs import Troubled, children_of, until

import envpool_wrap
from envpool_protocol.errors import EnvError, NothingPendingError, PoolTimeout, WorkerDied

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
LOST = ([0, 0, 0, 0], 0.0, False, True)  # the row of an env that failed, or lost its worker


@pytest.fixture
def pool(task_id: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`pool(what, at=…, …, **config)` makes a pool of four Troubled envs that is closed after the test."""
    pools: list[Any] = []
    name = task_id(Troubled)

    def make(what: str = "", **settings: Any) -> Any:
        trouble = {
            key: settings.pop(key) for key in ("at", "who", "when", "once", "scratch") if key in settings
        }
        env_kwargs = {"what": what, "scratch": str(tmp_path), **trouble}
        config = {"num_envs": 4, "env_kwargs": env_kwargs, **PROCESS, **settings}
        pools.append(envpool_wrap.make(name, "gym", **config))
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


def play_into(pool: Any, hook: str) -> tuple[dict[int, Any], list[Any]]:
    """Reset, and step once where that is what calls the hook: `receive_all` of the request that called it."""
    pool._send_reset(None, None, None)
    rows, failures = receive_all(pool)
    if hook in STEP_HOOKS:
        assert not failures
        pool.send(still(4), [0, 1, 2, 3])
        rows, failures = receive_all(pool)
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


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
