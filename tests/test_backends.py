"""Where a pool's workers run, and how many there are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import envs
import pytest

from envpool_protocol.errors import ConfigError
from envpool_wrap import backends
from envpool_wrap.config import PoolConfig

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def placed(**settings: Any) -> backends.Placement:
    return backends.place(PoolConfig.of(settings))


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


@pytest.mark.skipif(not GIL, reason="about Python with a GIL")
@pytest.mark.usefixtures("two_cores")
def test_threads_under_one_gil_are_the_default() -> None:
    assert placed(num_envs=8).backend == "inline"
    assert "GIL" in placed(num_envs=8).why


@pytest.mark.usefixtures("two_cores")
def test_free_threaded_python_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert placed(num_envs=8) == backends.Placement("thread", 2, "this Python has no GIL")
    assert placed(num_envs=1).backend == "inline"
    monkeypatch.setattr(backends, "cores", lambda: 1)
    assert placed(num_envs=8).backend == "inline"


@pytest.mark.usefixtures("two_cores")
def test_more_workers_than_envs_or_cores() -> None:
    assert placed(backend="thread", num_envs=1).workers == 1
    assert placed(backend="thread", num_envs=8).workers == 2
    assert placed(backend="thread", num_envs=8, num_threads=5).workers == 5


def test_an_inline_pool_says_it_has_several_workers(make: Any) -> None:
    with pytest.raises(ConfigError, match="num_threads=2 with backend='inline'"):
        placed(backend="inline", num_envs=4, num_threads=2)
    pool = make(envs.Counting, backend="inline", num_envs=4, num_threads=1)
    assert (pool.config["backend"], pool.config["num_threads"]) == ("inline", 1)
    assert "asked for" in repr(pool)


def test_pinning_to_a_core_that_is_not_there_stops_the_pool(make: Any) -> None:
    pool = make(envs.Counting, backend="thread", num_envs=2, num_threads=2, thread_affinity_offset=10_000)
    assert pool.reset()[1]["env_id"].tolist() == [0, 1]
