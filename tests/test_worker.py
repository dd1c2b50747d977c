"""A worker process: what its envs find around them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_envs import Troubled

import envpool_wrap
from envpool_wrap.processes import _ONE_THREAD
from envpool_wrap.worker import read_all


@pytest.fixture
def about(task_id: Any) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What two new workers look like from inside."""
    name = task_id(Troubled)

    def ask() -> list[dict[str, Any]]:
        config = {"num_envs": 2, "num_threads": 2, "caller_steps": False, "backend": "process"}
        with envpool_wrap.make(name, "gym", **config) as pool:
            found: list[dict[str, Any]] = pool.call("about")
            return found

    yield ask


def test_blas_in_each_worker_takes_all_cores(about: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    assert {one["environ"][name] for one in about() for name in _ONE_THREAD} == {"1"}
    assert not set(_ONE_THREAD) & set(os.environ)


def test_the_users_own_thread_limit_is_overruled(about: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert {one["environ"]["OMP_NUM_THREADS"] for one in about()} == {"3"}


def test_a_worker_looks_elsewhere_than_its_parent(
    about: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, "/no/such/folder"])
    for one in about():
        assert one["folder"] == str(tmp_path)
        assert one["path"] == sys.path


def test_a_worker_runs_the_script_again_or_reads_its_input(about: Any) -> None:
    found = about()
    assert len({one["pid"] for one in found} | {os.getpid()}) == 3
    for one in found:
        assert Path(one["main"]).name == "worker.py"
        assert one["stdin"] == "/dev/null"
        assert one["group"] == one["pid"]


def test_reading_orders_moves_the_place_that_others_read_from(tmp_path: Path) -> None:
    (tmp_path / "orders").write_bytes(b"x" * 200_000)
    with open(tmp_path / "orders", "rb", buffering=0) as file:
        for _ in range(2):
            assert len(read_all(file.fileno())) == 200_000
        assert file.tell() == 0
