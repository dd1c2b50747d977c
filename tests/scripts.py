"""Python processes that make pools of `faulty_envs.Troubled`, for tests that a test run would not survive."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_envs import Troubled

TESTS = Path(__file__).parent
HEAD = """
import gc, os, resource, signal, sys, threading, time
from pathlib import Path
import numpy as np
import envpool_wrap
from envpool_protocol.errors import *
from envs import until_it_receives
from faulty_envs import *
NAME, SCRATCH = sys.argv[1:3]
def make(what="", backend="process", num_threads=2, num_envs=4, at="_step_envpool", who=None, **config):
    trouble = {"what": what, "at": at, "who": who, "scratch": SCRATCH}
    return envpool_wrap.make(
        NAME, "gym", num_envs=num_envs, num_threads=num_threads, backend=backend, env_kwargs=trouble, **config
    )
def workers(pool): return pool._open.processes.pids()
def still(rows): return np.zeros(rows, np.int64)
def say(*words): print(*words, flush=True)
"""


@pytest.fixture
def script(task_id: Any, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`script(body)` starts a Python process of its own group that runs HEAD and the body."""
    started = []
    name = task_id(Troubled)

    def start(body: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", HEAD + body, name, str(tmp_path)],
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def words_of(process: subprocess.Popen[str], first: str) -> list[int]:
    """The numbers of the line that starts with this word."""
    assert process.stdout is not None
    while line := process.stdout.readline():
        word, *numbers = line.split()
        if word == first:
            return [int(number) for number in numbers]
    raise AssertionError(f"no {first!r}; stderr: {process.stderr and process.stderr.read()}")


def finish(process: subprocess.Popen[str]) -> str:
    """Its output; it must end well and say nothing on stderr. The test's own time limit is the net."""
    out, err = process.communicate()
    assert (process.returncode, err) == (0, ""), f"{out}\n{err}"
    return out
