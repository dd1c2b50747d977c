"""Where workers run: how many there are, and which backend `"auto"` means."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from envpool_protocol.errors import ConfigError
from envpool_wrap.config import PoolConfig


@dataclass(frozen=True)
class Placement:
    """The backend of a pool: its name, its number of worker threads, and why it was chosen."""

    backend: str
    workers: int
    why: str


def place(config: PoolConfig) -> Placement:
    """Choose where a pool's workers run.

    Raises:
        ConfigError: an inline pool was asked for more than one worker.
    """
    backend, why = config.backend, "asked for"
    if backend == "auto":
        backend, why = _choose(config)
    if backend == "thread":
        return Placement(backend, config.num_threads or min(config.num_envs, cores()), why)
    if config.backend == "inline" and config.num_threads > 1:
        raise ConfigError(
            f"num_threads={config.num_threads} with backend='inline', which steps in the caller's thread; "
            "use backend='thread', or leave num_threads out"
        )
    return Placement(backend, 0, why)


def _choose(config: PoolConfig) -> tuple[str, str]:
    if config.num_envs == 1:
        return "inline", "one env"
    if cores() == 1:
        return "inline", "one core"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "thread", "this Python has no GIL"
    return "inline", "threads that call Python share one GIL"


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
