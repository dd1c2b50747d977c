"""Pools of a process that forks."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty_envs import is_gone, until
from troubled_pools import HOW, kill, still

from envpool_protocol.errors import ForkedPoolError, WorkerDied


def in_child(body: Callable[[], Any]) -> None:
    """Fork, run `body` in the child, and see that it ends well and in time."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    ended: list[int] = []

    def reaped() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.append(os.waitstatus_to_exitcode(status) if pid else -1)
        return pid == child

    if not until(reaped):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the forked child hangs")
    assert ended[-1] == 0


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("how", ["inline", "thread", "process", "process+caller"])
def test_a_forked_child_uses_or_ends_the_pool(pool: Any, how: str) -> None:
    mine = pool(**HOW[how])
    mine.reset()

    def body() -> None:
        for use in (mine.reset, mine.recv, lambda: mine.step(still(4)), lambda: mine.call("about")):
            with pytest.raises(ForkedPoolError):
                use()
        with pytest.raises(ForkedPoolError):
            mine.close()
        mine._finalizer()
        mine.__dict__.clear()
        gc.collect()

    in_child(body)
    assert mine.step(still(4))[0][:, 1].tolist() == [1, 1, 1, 1]


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("how", ["thread", "process"])
def test_arrays_change_under_a_forked_child(pool: Any, how: str) -> None:
    mine = pool(**HOW[how])
    mine.reset()
    held = mine.step(still(4))[0]
    turn_r, turn_w = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(turn_r, 1)
        os._exit(0 if held[:, 1].tolist() == [1, 1, 1, 1] else 1)
    del held
    for t in range(2, 30):
        assert mine.step(still(4))[0][:, 1].tolist() == [t] * 4
    os.write(turn_w, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(turn_r)
    os.close(turn_w)


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_forked_during_a_step_ends_the_workers(pool: Any, tmp_path: Path) -> None:
    mine = pool("hang", who=1)
    mine.reset()
    mine.send(still(4))
    caught: list[BaseException] = []

    def receive() -> None:
        try:
            mine.recv()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    assert until((tmp_path / "hangs-1").exists)
    hung = int((tmp_path / "hangs-1").read_text())

    def body() -> None:
        with pytest.raises(ForkedPoolError):
            mine.reset()
        mine._finalizer()

    try:
        in_child(body)
        assert not is_gone(hung)
        assert thread.is_alive()
    finally:
        kill(hung)
        thread.join(20)
    assert [type(error) for error in caught] == [WorkerDied]
