"""The child processes of a pool: started, watched, restarted, ended.

Only the thread that is inside the pool calls these methods. A child is started by fork and exec of a fresh
interpreter (so no thread is copied and no script runs again), in its own process group, with the pool's files
inherited by number. Each wait has a deadline; `stop` ends what does not end by itself.
"""

from __future__ import annotations

import contextlib
import io
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

from envpool_protocol.errors import PoolError

START_DEADLINE = 120.0  # seconds for a child to import what it needs
READY = b"\0"
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
        orders: what every child is told: `module` (see `modules.reference_to`), `factory` (pickled).
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
        self._children: dict[int, _Child] = {}
        self._dead: dict[int, ChildProcessError] = {}
        try:
            self.start(list(queues))
        except BaseException:
            self.stop(0.0)
            raise

    def start(self, queues: list[int]) -> None:
        """Start the children of these queues, all at once, and wait until they can work: all, or none."""
        deadline = time.monotonic() + START_DEADLINE
        try:
            with contextlib.ExitStack() as pipes:
                ready = {queue: self._spawn(queue, pipes) for queue in queues}
                for queue, pipe in ready.items():
                    self._await_start(queue, pipe, deadline)
            for queue in queues:
                self._dead.pop(queue, None)
        except BaseException:
            for queue in queues:
                if queue in self._children:
                    self._children.pop(queue).end(0.0)
            raise

    def _spawn(self, queue: int, pipes: contextlib.ExitStack) -> Any:
        orders = self._orders | {"path": sys.path, "folder": os.getcwd(), "parent": os.getpid()}
        orders["arena"] = self._arena | {"queue": queue, "outbox_fd": self._outboxes[queue]}
        data = pickle.dumps(orders)
        with contextlib.ExitStack() as given:
            orders_fd = os.memfd_create("envpool-orders", os.MFD_CLOEXEC)
            given.callback(os.close, orders_fd)
            ready, child_ready = os.pipe()
            given.callback(os.close, child_ready)
            pipe = pipes.enter_context(open(ready, "rb", buffering=0))
            os.write(orders_fd, data)
            process = subprocess.Popen(
                [sys.executable, *_own_flags(), "-P", str(_WORKER), str(orders_fd), str(child_ready)],
                pass_fds=[orders_fd, child_ready, *self._files, self._outboxes[queue]],
                env={**dict.fromkeys(_ONE_THREAD, "1"), **os.environ},
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
            self._children[queue] = _Child(process)
        return pipe

    def _await_start(self, queue: int, ready: Any, deadline: float) -> None:
        """The child writes one zero when it is ready; whatever else it writes is why it is not."""
        said = b""
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise PoolError(f"worker {queue} did not start within {START_DEADLINE:g} s")
            if not poll.poll(left * 1000):
                continue
            piece = ready.read(65536)
            if piece == READY:
                return
            if not piece:
                break
            said += piece
        code = self._children.pop(queue).end(10.0)
        why = f"\n{said.decode(errors='replace')}" if said else f" it {ending(code)}"
        raise PoolError(f"worker {queue} could not start:{why}")

    def died(self) -> dict[int, ChildProcessError]:
        """The children that ended and were not started again, by queue.

        A signal handler may raise anywhere in here: the next call tells all the same.
        """
        for queue, child in list(self._children.items()):
            if child.has_ended():
                how = ending(child.end(0.0))
                self._dead[queue] = ChildProcessError(f"its worker process (pid {child.pid}) {how}")
                del self._children[queue]
        return dict(self._dead)

    def pids(self) -> list[int]:
        """The process ids of the living children."""
        return [child.pid for child in self._children.values()]

    def stop(self, timeout: float) -> None:
        """Wait for all children to end, and kill those that have not after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for queue, child in list(self._children.items()):
            child.end(max(0.0, deadline - time.monotonic()))
            del self._children[queue]


class _Child:
    """A child process. It is reaped after its process group is killed: until then its number is its own.

    Each method may be called again, also after it was interrupted.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        try:
            self._pidfd = io.FileIO(os.pidfd_open(process.pid))
        except BaseException:
            process.kill()
            process.wait()
            raise

    def has_ended(self) -> bool:
        return self._process.returncode is not None or self._wait(0.0)

    def _wait(self, timeout: float) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def end(self, timeout: float) -> int:
        """Give it `timeout` seconds, kill it and what it started, and return its exit code."""
        if self._process.returncode is None:
            try:
                self._wait(timeout)
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()
        self._pidfd.close()
        return self._process.returncode


def _own_flags() -> list[str]:
    """This interpreter's options, such as `-O` and `-W error`, which its envs expect elsewhere, too."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return flags


def ending(code: int) -> str:
    """How a process ended, in words: `was killed by SIGSEGV`, `exited with code 3`."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
