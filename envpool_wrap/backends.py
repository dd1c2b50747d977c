"""Where workers run: which backend `"auto"` means, how many workers there are, and if the caller is one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from envpool_protocol.errors import ConfigError
from envpool_wrap.config import PoolConfig

# How long a worker, or the caller, stays awake when there is nothing to do: a few times what a wake-up costs.
SPIN_NS = 50_000


@dataclass(frozen=True)
class Placement:
    """Where the workers of a pool run.

    Attributes:
        backend: `"inline"`, `"thread"` or `"process"`.
        threads, processes: workers besides the caller.
        caller_works: the calling thread steps a share.
        spin_ns: how long to wait awake; 0 where there is no core to spare.
        why: why this backend.
    """

    backend: str
    threads: int
    processes: int
    caller_works: bool
    spin_ns: int
    why: str

    @property
    def workers(self) -> int:
        """How many step envs, the caller included."""
        return self.threads + self.processes + self.caller_works


def place(config: PoolConfig, pickle_factory: Callable[[], object], compiled: bool = False) -> Placement:
    """Choose where a pool's workers run.

    Args:
        config: the settings.
        pickle_factory: raises when the env cannot go to another process.
        compiled: the hooks are machine code, and need no Python.

    Raises:
        ConfigError: settings that exclude each other.
    """
    backend, why = config.backend, "asked for"
    if backend == "auto":
        backend, why = _choose(config, pickle_factory, compiled)
    if backend == "process" and compiled:
        raise ConfigError(
            "backend='process' with compiled hooks, which run on threads without the GIL; leave backend out, "
            "or make the pool with compiled=False"
        )
    if backend == "inline":
        if config.backend == "inline" and config.num_threads > 1:
            raise ConfigError(
                f"num_threads={config.num_threads} with backend='inline', which steps in your own thread; "
                "use another backend, or leave num_threads out"
            )
        return Placement(backend, 0, 0, True, 0, why)
    workers = min(config.num_threads or cores(), config.num_envs)
    caller_works = _caller_works(config, workers)
    others = max(1, workers - caller_works)
    threads, processes = (others, 0) if backend == "thread" else (0, others)
    spin_ns = SPIN_NS if others + 1 <= cores() else 0
    return Placement(backend, threads, processes, caller_works, spin_ns, why)


def _choose(config: PoolConfig, pickle_factory: Callable[[], object], compiled: bool) -> tuple[str, str]:
    apart = config.caller_steps is False or config.timeout is not None  # no env in the caller's thread
    if config.num_envs == 1 and not apart:
        return "inline", "one env"
    if cores() == 1 and not apart:
        return "inline", "one core"
    if compiled:
        return "thread", "compiled hooks need no GIL"
    if not has_gil():
        return "thread", "this Python has no GIL"
    without_processes = "thread" if apart else "inline"
    if not has_worker_processes():
        return without_processes, "worker processes need Linux"
    try:
        pickle_factory()
    except Exception as error:  # whatever a part of the env's class or arguments raises
        return without_processes, f"the env cannot go to another process: {error}"
    return "process", "Python code on several cores"


def _caller_works(config: PoolConfig, workers: int) -> bool:
    asked = config.caller_steps
    if asked == "auto":
        return not config.is_async and workers >= 2 and config.timeout is None and config.on_error == "raise"
    if asked and config.timeout is not None:
        raise ConfigError(
            "caller_steps=True with a timeout: no deadline can fire inside the caller's own env"
        )
    if asked and config.is_async:
        raise ConfigError(
            "caller_steps=True with batch_size < num_envs: the caller would wait for its own env"
        )
    return bool(asked)


def has_gil() -> bool:
    """Whether threads of this Python take turns."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def has_worker_processes() -> bool:
    """Whether this system has what worker processes are made of."""
    return sys.platform.startswith("linux")


def cores() -> int:
    """CPU cores this process may use: by affinity, and by the quota of its control group."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores()
    return max(1, min(available, quota)) if quota else available


def _cgroup_cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Whole cores of the CPU quota, 0 where there is none. Control groups of version 2, then 1."""
    for quota_file, period_file in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = (root / quota_file).read_text().split()
            if period_file:
                words += (root / period_file).read_text().split()
            quota, period = words
            if quota not in ("max", "-1"):
                return max(1, int(quota) // int(period))
        except (OSError, ValueError):
            continue
    return 0
