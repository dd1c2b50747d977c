"""Envs that do what they like with their process: write, fork, start threads and programs."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
from faulty_envs import is_gone, until
from troubled_pools import PROMPT, pids_of, still

from envpool_protocol.errors import WorkerDied


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
