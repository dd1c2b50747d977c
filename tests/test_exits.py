"""Pools that end in odd ways: by an error in close, by garbage collection, with their thread or process."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from faulty_envs import Troubled, children_of, descriptors, is_gone, until
from scripts import finish, words_of
from troubled_pools import HOW, PROCESS, PROMPT, pids_of, still

import envpool_wrap
from envpool_protocol.errors import EnvError, PoolClosedError


@pytest.mark.parametrize("how", HOW)
def test_an_exception_in_close_keeps_envs_open(pool: Any, how: str, tmp_path: Path) -> None:
    troubled = pool("ValueError", at="_close_envpool", who=1, **HOW[how])
    troubled.async_reset()
    with pytest.raises(EnvError, match="env 1: _close_envpool raised ValueError"):
        troubled.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed-0", "closed-2", "closed-3"]
    troubled.close()


def test_a_closed_pool_starts_workers_again(pool: Any) -> None:
    mine = pool()
    os.kill(pids_of(mine)[0], signal.SIGKILL)
    start = time.monotonic()
    mine.close()
    assert time.monotonic() - start < PROMPT
    with pytest.raises(PoolClosedError):
        mine.reset()
    assert not children_of(os.getpid())


def test_a_pool_dies_with_the_thread_that_made_it(pool: Any) -> None:
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(pool()))
    thread.start()
    thread.join()
    assert until(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists())
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
    thread = threading.Thread(target=pool.recv, daemon=True)
    thread.start()
    until_it_receives(thread)
say("workers", *(workers(pool) if {backend!r} == "process" else []))
""")
    pids = words_of(process, "workers")
    start = time.monotonic()
    finish(process)
    assert time.monotonic() - start < 1 + 10
    assert until(lambda: all(map(is_gone, pids)), PROMPT)
