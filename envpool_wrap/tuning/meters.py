"""CPU time and memory of a process, and who takes its core. Linux; elsewhere all of it is 0."""

from __future__ import annotations

import contextlib
import resource
import time
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far, to the nanosecond; 0 if it has ended.

    The figures of /proc come in hundredths of a second, too coarse for short rounds. The clock's number is
    that of clock_getcpuclockid(3).
    """
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def pss_bytes(pid: int) -> int:
    """Proportional set size: each page divided by how many processes share it. 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def times_interrupted() -> int:
    """How often another program took the core from this thread so far."""
    if not hasattr(resource, "RUSAGE_THREAD"):
        return 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
