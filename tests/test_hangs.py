"""Envs that hang, and what gets a caller out of the wait for them: deadlines and interrupts."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from envs import until_it_receives
from faulty_envs import is_gone, until
from scripts import finish, words_of
from troubled_pools import HOW, PROMPT, assert_works, pids_of, still

from envpool_protocol.errors import PendingCallError, PoolTimeout, WorkerDied


@pytest.mark.parametrize("how", ["thread", "process", "process-async"])
def test_a_hung_env_is_not_named(pool: Any, how: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("envpool_wrap.core.CLOSE_DEADLINE", 1.0)
    troubled = pool("hang", who=1, timeout=0.3, **HOW[how])
    troubled.async_reset()
    while troubled._core.num_in_flight:
        with contextlib.suppress(PoolTimeout):
            troubled.recv()
    sent = time.monotonic()
    troubled.send(still(2), [1, 3])
    assert until((tmp_path / "hangs-1").exists)
    assert until(lambda: troubled.stats()["steps"] == [0, 0, 0, 1])
    for _ in range(2):
        start = time.monotonic()
        running = r"still running: env 1 for (\d+\.\d) s; waiting for a worker: 0"
        with pytest.raises(PoolTimeout, match=running) as caught:
            troubled.recv()
            troubled.recv()
        [seconds] = re.findall(running, str(caught.value))
        assert float(seconds) < time.monotonic() - sent + 0.1
        assert 0.25 < time.monotonic() - start < PROMPT
    start = time.monotonic()
    with pytest.raises(PoolTimeout) if how == "thread" else contextlib.nullcontext():
        troubled.close()
    assert time.monotonic() - start < 1 + PROMPT
    if how != "thread":
        assert is_gone(int((tmp_path / "hangs-1").read_text()))
        assert {path.name for path in tmp_path.iterdir()} >= {"closed-2", "closed-3"}


def test_workers_have_another_name_than_docs_errors_asks_for_the_stacks(pool: Any) -> None:
    for pid in pids_of(pool()):
        assert b"envpool_wrap/worker.py" in Path(f"/proc/{pid}/cmdline").read_bytes()


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


@pytest.mark.parametrize("how", ["thread", "process"])
def test_closing_while_a_step_runs_ends_the_workers_under_it(pool: Any, how: str, tmp_path: Path) -> None:
    troubled = pool("hang", who=1, timeout=3.0, **HOW[how])
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
    assert time.monotonic() - start < 2.5
    thread.join(20)
    assert [type(error) for error in caught] == [PoolTimeout]
    assert repr(troubled).count("closed") == 0
    if how == "thread":
        return
    os.kill(int((tmp_path / "hangs-1").read_text()), signal.SIGKILL)
    with pytest.raises(WorkerDied):
        troubled.recv()
    assert_works(troubled)


def test_an_interrupt_does_not_reach_recv(pool: Any, tmp_path: Path) -> None:
    troubled = pool("hang", who=1)
    troubled.reset()
    troubled.send(still(4))
    assert until((tmp_path / "hangs-1").exists)
    sent: list[float] = []

    def interrupt() -> None:
        until_it_receives(threading.main_thread())
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        threading.Thread(target=interrupt).start()
        troubled.recv()
    took = time.monotonic() - sent[0]
    print(f"interrupted within {took:.3f} s")
    assert took < PROMPT
    os.kill(int((tmp_path / "hangs-1").read_text()), signal.SIGKILL)
    with pytest.raises(WorkerDied) as caught:
        troubled.recv()
    assert caught.value.result[0][:, 1].tolist()[2:] == [1, 1]
    assert_works(troubled)


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
