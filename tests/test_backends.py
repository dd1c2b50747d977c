"""Where a pool's workers run, and how many there are."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import envs
import pytest

from envpool_protocol.errors import ConfigError
from envpool_wrap import backends
from envpool_wrap.config import PoolConfig

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def placed(**settings: Any) -> backends.Placement:
    return backends.place(PoolConfig.of(settings), lambda: None)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "cores", lambda: 2)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 0),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, 0),
        ({"cpu.max": "rubbish"}, 0),
        ({"cpu.max": ""}, 0),
        ({}, 0),
    ],
)
def test_a_cgroup_quota_is_misread(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert backends._cgroup_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [(0, 4), (1, 1), (3, 3), (64, 4)])
def test_more_workers_than_the_quota_allows(monkeypatch: pytest.MonkeyPatch, quota: int, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(backends, "_cgroup_cores", lambda: quota)
    assert backends.cores() == cores


def asked(**settings: Any) -> tuple[Any, ...]:
    """(backend, threads, processes, caller_works) of a pool with these settings."""
    found = placed(**settings)
    return found.backend, found.threads, found.processes, found.caller_works


@pytest.mark.skipif(not GIL, reason="about Python with a GIL")
@pytest.mark.usefixtures("two_cores")
def test_a_second_core_is_left_alone() -> None:
    assert asked(num_envs=8) == ("process", 0, 1, True)
    assert asked(num_envs=2) == ("process", 0, 1, True)
    assert placed(num_envs=8).why == "Python code on several cores"


@pytest.mark.skipif(not GIL, reason="about Python with a GIL")
@pytest.mark.usefixtures("two_cores")
def test_auto_makes_processes_that_cannot_help(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise TypeError("cannot pickle '_thread.lock' object")

    found = backends.place(PoolConfig.of({"num_envs": 8, "num_threads": 5}), refuse)
    assert (found.backend, found.workers) == ("inline", 1)
    assert found.why == "the env cannot go to another process: cannot pickle '_thread.lock' object"
    assert (placed(num_envs=1).backend, placed(num_envs=1).why) == ("inline", "one env")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert (placed(num_envs=8).backend, placed(num_envs=8).why) == ("inline", "worker processes need Linux")
    monkeypatch.undo()
    monkeypatch.setattr(backends, "cores", lambda: 1)
    assert (placed(num_envs=8).backend, placed(num_envs=8).why) == ("inline", "one core")


@pytest.mark.parametrize("settings", [{"timeout": 1}, {"caller_steps": False}])
@pytest.mark.parametrize("cores", [1, 2])
def test_auto_steps_in_the_caller_what_must_not_be_there(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], cores: int
) -> None:
    def refuse() -> None:
        raise TypeError("cannot pickle")

    monkeypatch.setattr(backends, "cores", lambda: cores)
    monkeypatch.setattr(sys, "platform", "linux")
    for num_envs in (1, 4):
        found = placed(num_envs=num_envs, **settings)
        assert (found.backend, found.caller_works) == ("process" if GIL else "thread", False)
        found = backends.place(PoolConfig.of({"num_envs": num_envs, **settings}), refuse)
        assert (found.backend, found.caller_works) == ("thread", False)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert placed(num_envs=4, **settings).backend == "thread"


@pytest.mark.usefixtures("two_cores")
def test_free_threaded_python_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert asked(num_envs=8) == ("thread", 1, 0, True)
    assert placed(num_envs=8).why == "this Python has no GIL"
    assert placed(num_envs=1).backend == "inline"
    monkeypatch.setattr(backends, "cores", lambda: 1)
    assert placed(num_envs=8).backend == "inline"


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_more_workers_than_envs_or_cores(backend: str) -> None:
    assert placed(backend=backend, num_envs=1).workers == 1
    assert placed(backend=backend, num_envs=8).workers == 2
    assert placed(backend=backend, num_envs=8, num_threads=5).workers == 5
    assert placed(backend=backend, num_envs=3, num_threads=5).workers == 3


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("backend", ["thread", "process"])
@pytest.mark.parametrize(
    ("settings", "others", "caller_works"),
    [
        ({}, 1, True),
        ({"num_threads": 3}, 2, True),
        ({"num_threads": 1}, 1, False),
        ({"caller_steps": False}, 2, False),
        ({"caller_steps": True, "num_threads": 1}, 1, True),  # there is always another worker
        ({"batch_size": 3}, 2, False),
        ({"batch_size": 4}, 1, True),
        ({"timeout": 1}, 2, False),
        ({"on_error": "restart"}, 2, False),
        ({"on_error": "restart", "caller_steps": True}, 1, True),
    ],
)
def test_the_caller_steps_when_it_must_not_or_only_waits(
    backend: str, settings: dict[str, Any], others: int, caller_works: bool
) -> None:
    found = placed(backend=backend, num_envs=4, **settings)
    assert (found.threads + found.processes, found.caller_works) == (others, caller_works)
    assert (found.threads > 0) == (backend == "thread")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": 1}, "caller_steps=True with a timeout: no deadline can fire"),
        ({"batch_size": 1}, "caller_steps=True with batch_size < num_envs: the caller would wait"),
    ],
)
def test_the_caller_waits_for_its_own_env(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        placed(backend="thread", num_envs=4, caller_steps=True, **settings)


@pytest.mark.usefixtures("two_cores")
def test_more_spinners_than_cores() -> None:
    assert placed(backend="process", num_envs=8).spin_ns > 0
    assert placed(backend="process", num_envs=8, num_threads=3).spin_ns == 0
    assert placed(backend="thread", num_envs=8, caller_steps=False).spin_ns == 0
    assert placed(backend="inline", num_envs=8).spin_ns == 0


def test_what_was_chosen_is_not_told(make: Any, backend: str) -> None:
    pool = make(envs.Counting, backend=backend, num_envs=4, num_threads=0 if backend == "inline" else 2)
    workers = 1 if backend == "inline" else 2
    told = [pool.config[key] for key in ("backend", "num_threads", "caller_steps")]
    assert told == [backend, workers, True]
    assert f"backend={backend} (asked for)" in repr(pool)


def test_an_env_that_cannot_be_pickled_stops_auto_or_nobody_says_why(make: Any) -> None:
    pool = make(envs.Faulty, backend="auto", num_envs=4, env_kwargs={"error": threading.Lock()})
    if GIL and backends.cores() > 1:
        assert "backend=inline (the env cannot go to another process: " in repr(pool)
        assert "lock" in repr(pool)
    assert pool.reset()[1]["env_id"].tolist() == [0, 1, 2, 3]


def test_an_inline_pool_says_it_has_several_workers() -> None:
    with pytest.raises(ConfigError, match="num_threads=2 with backend='inline'"):
        placed(backend="inline", num_envs=4, num_threads=2)


def test_pinning_to_a_core_that_is_not_there_stops_the_pool(make: Any) -> None:
    pool = make(envs.Counting, backend="thread", num_envs=2, num_threads=2, thread_affinity_offset=10_000)
    assert pool.reset()[1]["env_id"].tolist() == [0, 1]
