"""On free-threaded Python nothing of ours puts the GIL back, and threads step envs at the same time."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from envs import Counting

pytestmark = pytest.mark.skipif(
    getattr(sys, "_is_gil_enabled", lambda: True)(), reason="this Python has a GIL, or it is on"
)


def test_a_pool_puts_the_gil_back(make: Callable[..., Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # CPython warns when a module makes it take the GIL back
        pool = make(Counting, num_envs=4, backend="auto")
    pool.reset()
    pool.step(np.zeros((4, 1), np.float32))
    assert pool.config["backend"] == "thread" and "no GIL" in repr(pool)
    assert not sys._is_gil_enabled()  # type: ignore[attr-defined]


def test_threads_step_one_after_the_other(make: Callable[..., Any]) -> None:
    """Each env waits inside its step until the other is inside its own, which only works at the same time."""
    pool = make(Counting, num_envs=2, backend="thread", num_threads=2)
    pool.reset()
    meeting = threading.Barrier(2)

    def meet(action: Any) -> None:
        meeting.wait(30)

    pool.set_attr("_step_envpool", meet)
    pool.step(np.zeros((2, 1), np.float32))
    assert not meeting.broken
