"""Child processes of a pool: started all or none, watched, and ended with all that they started."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from faulty_envs import Troubled, children_of, descriptors, is_gone, until

import envpool_wrap
from envpool_protocol.errors import PoolError
from envpool_wrap import processes


@pytest.fixture(autouse=True)
def nothing_is_left(task_id: Any) -> Iterator[None]:
    task_id(Troubled)
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    assert not children_of(os.getpid())
    assert descriptors() == before


def make(**config: Any) -> Any:
    config = {"num_envs": 4, "num_threads": 2, "caller_steps": False, **config}
    return envpool_wrap.make("Troubled_wrap", "gym", backend="process", **config)


def children(pool: Any) -> Any:
    return pool._open.processes


class Boom:
    def __reduce__(self) -> Any:
        return eval, ("1 / 0",)


class Quits:
    def __reduce__(self) -> Any:
        return os._exit, (5,)


class Dies:
    def __reduce__(self) -> Any:
        return eval, ("__import__('os').kill(__import__('os').getpid(), 9)",)


class ForksAndStays:
    def __reduce__(self) -> Any:
        return eval, ("(__import__('os').fork() or __import__('signal').pause()) and ''",)


class Hangs:
    def __reduce__(self) -> Any:
        return time.sleep, (3600,)


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (Boom, "ZeroDivisionError: division by zero"),
        (Quits, "exited with code 5"),
        (Dies, "was killed by SIGKILL"),
    ],
)
def test_a_worker_that_cannot_start_is_not_explained(trouble: type, told: str) -> None:
    with pytest.raises(PoolError, match=rf"worker 0 could not start:(.|\n)*{told}"):
        make(env_kwargs={"what": trouble()})


def test_a_worker_that_hangs_at_its_start_hangs_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_DEADLINE", 1.0)
    with pytest.raises(PoolError, match="did not start within 1 s"):
        make(env_kwargs={"what": Hangs()})


def test_an_import_that_forks_hangs_make() -> None:
    start = time.monotonic()
    make(env_kwargs={"what": ForksAndStays()}).close()
    assert time.monotonic() - start < 20


def test_a_restart_that_fails_leaves_a_worker_or_a_number_that_is_reused() -> None:
    with make() as pool:
        pool.reset()
        mine = children(pool)
        good = mine._orders["factory"]
        for pid in mine.pids():
            os.kill(pid, signal.SIGKILL)
            assert until(lambda pid=pid: is_gone(pid))
        with pytest.raises(PoolError, match="was killed by SIGKILL"):
            pool.step([0, 0, 0, 0])
        mine._orders["factory"] = cloudpickle.dumps(Boom())
        for _ in range(2):
            with pytest.raises(PoolError, match="ZeroDivisionError"):
                pool.reset()
            assert mine.pids() == children_of(os.getpid()) == []
            assert sorted(mine.died()) == [0, 1]
        mine._orders["factory"] = good
        pool.reset()
        assert mine.died() == {}
        assert sorted(mine.pids()) == sorted(children_of(os.getpid()))


def test_a_signal_that_comes_while_a_death_is_looked_at_keeps_it_from_being_told() -> None:
    interrupted_at = 0
    while True:
        mine = processes.Processes(range(0), {}, {}, [], {})
        mine._children[0] = processes._Child(subprocess.Popen(["sh", "-c", "exit 3"], process_group=0))
        assert until(mine._children[0].has_ended)
        try:
            with interrupting(processes.__file__, line=interrupted_at):
                mine.died()
        except KeyboardInterrupt:
            (death,) = mine.died().values()
            assert "exited with code 3" in str(death)
            assert not mine.pids()
            interrupted_at += 1
        else:
            break
    assert interrupted_at > 10, "each line that runs was one where the signal came"


@contextlib.contextmanager
def interrupting(file: str, line: int) -> Iterator[None]:
    """Raises KeyboardInterrupt at the line that is run as number `line` of those of `file`."""
    left = line

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != file:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_more_than_1024_open_files_stop_the_start() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1300:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1300), hard))
    many = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        with make() as pool:
            pool.reset()
    finally:
        for fd in many:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_children_hear_the_terminal_of_their_parent() -> None:
    with make() as pool:
        for pid in children(pool).pids():
            assert os.getpgid(pid) == pid != os.getpgrp()
            os.killpg(pid, signal.SIGINT)
        assert pool.reset()[0][:, 1].tolist() == [0, 0, 0, 0]


def test_a_stopped_worker_holds_close_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool_wrap.core.CLOSE_DEADLINE", 1.0)
    pool = make()
    pids = children(pool).pids()
    os.kill(pids[0], signal.SIGSTOP)
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start < 10
    assert all(map(is_gone, pids))


def test_closing_forgets_the_descriptors_of_a_pool_that_is_still_there() -> None:
    before = descriptors()
    pool = make()
    assert descriptors() != before
    held = pool.reset()
    pool.close()
    assert descriptors() == before
    assert held[0][:, 0].tolist() == [0, 1, 2, 3]
    assert "closed" in repr(pool)
    pool.stats()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (-11, "was killed by SIGSEGV"),
        (-63, "was killed by signal 63"),
    ],
)
def test_an_ending_is_misnamed(code: int, words: str) -> None:
    assert processes.ending(code) == words


def test_a_worker_runs_another_python() -> None:
    with make() as pool:
        for pid in children(pool).pids():
            assert os.path.realpath(f"/proc/{pid}/exe") == os.path.realpath(sys.executable)
            assert Path(f"/proc/{pid}/comm").exists()
