"""The child processes of a pool: started, watched, restarted, ended.

Only the thread that is inside the pool calls these methods. A child is started by fork and exec of a fresh
interpreter (so no thread is copied and no script runs again), in its own process group, with the pool's files
inherited by number. Each wait has a deadline; `stop` ends what does not end by itself.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envpool_protocol.errors import PoolError, WorkerDied

START_DEADLINE = 120.0  # seconds for a child to import what it needs
_WORKER = Path(__file__).with_name("worker.py")
# One thread each for BLAS, OpenMP and friends: the pool's processes share the cores already.
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


class Processes:
    """One child per queue of `queues`.

    Args:
        queues: the queues that children serve.
        orders: what every child is told: `module_name`, `module_file`, `factory` (pickled).
        arena: arguments of `_core.Worker` that are the same for all.
        files: descriptors that all children inherit.
        outboxes: queue → the descriptor of that child's own letter file.

    Raises:
        PoolError: a child did not start; the message holds its traceback.
    """

    def __init__(
        self,
        queues: range,
        orders: Mapping[str, Any],
        arena: Mapping[str, Any],
        files: list[int],
        outboxes: Mapping[int, int],
    ) -> None:
        self._orders, self._arena = dict(orders), dict(arena)
        self._files, self._outboxes = files, outboxes
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._started = time.monotonic()
        try:
            self.start(list(queues))
        except BaseException:
            self.stop(0.0)
            raise

    def start(self, queues: list[int]) -> None:
        """Start the children of these queues, all at once, and wait until they can work."""
        pipes = {queue: self._spawn(queue) for queue in queues}
        deadline = time.monotonic() + START_DEADLINE
        for queue, pipe in pipes.items():
            with contextlib.closing(os.fdopen(pipe, "rb", buffering=0)) as ready:
                self._await_start(queue, ready, deadline)

    def _spawn(self, queue: int) -> int:
        orders = self._orders | {"path": sys.path, "folder": os.getcwd()}
        orders["arena"] = self._arena | {"queue": queue, "outbox_fd": self._outboxes[queue], "parent": os.getpid()}
        data = pickle.dumps(orders)
        orders_fd = os.memfd_create("envpool-orders", os.MFD_CLOEXEC)
        ready, child_ready = os.pipe()
        try:
            os.write(orders_fd, data)
            self._children[queue] = subprocess.Popen(
                [sys.executable, str(_WORKER), str(orders_fd), str(child_ready)],
                pass_fds=[orders_fd, child_ready, *self._files, self._outboxes[queue]],
                env={**dict.fromkeys(_ONE_THREAD, "1"), **os.environ},
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        except BaseException:
            os.close(ready)
            raise
        finally:
            os.close(orders_fd)
            os.close(child_ready)
        return ready

    def _await_start(self, queue: int, ready: Any, deadline: float) -> None:
        """The child closes the pipe when it is ready; whatever it writes there is why it is not."""
        said = b""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise PoolError(f"worker {queue} did not start within {START_DEADLINE:g} s")
            if not select.select([ready], [], [], left)[0]:
                continue
            piece = ready.read(65536)
            if not piece:
                break
            said += piece
        child = self._children[queue]
        if said:
            child.wait(10)
            raise PoolError(f"worker {queue} could not start:\n{said.decode(errors='replace')}")
        if child.poll() is not None:
            raise PoolError(f"worker {queue} could not start: {ending(child.returncode)}")

    def died(self) -> dict[int, WorkerDied]:
        """The children that ended since the last call, by queue."""
        dead = {queue: child for queue, child in self._children.items() if child.poll() is not None}
        for queue, child in dead.items():
            _kill_group(child)  # whatever it had started itself
            del self._children[queue]
        return {
            queue: WorkerDied(f"the worker process of queue {queue} (pid {child.pid}) {ending(child.returncode)}")
            for queue, child in dead.items()
        }

    def pids(self) -> list[int]:
        """The process ids of the living children."""
        return [child.pid for child in self._children.values()]

    def stop(self, timeout: float) -> None:
        """Wait for all children to end, and kill those that have not after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for child in self._children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
            _kill_group(child)
            child.wait()
        self._children.clear()


def ending(code: int) -> str:
    """How a process ended, in words: `was killed by SIGSEGV`, `exited with code 3`."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
