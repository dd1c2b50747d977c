"""Runs a measurement in a fresh process, and returns what it measured as one JSON line.

    python -m benchmarks.jobs KIND '{"parameter": value, ...}' RESULT_FILE

Whatever a library prints goes to a log, whose end is shown when something fails. A job has a deadline, and
nothing that it started outlives it.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DEADLINE = 600.0  # seconds
# What can be run: a dataclass with `run() -> dict`. Imported by the process that runs it.
KINDS = {
    "cell": ("benchmarks.cell", "Cell"),
    "make": ("benchmarks.growth", "MakeTime"),
    "generation": ("benchmarks.growth", "Generation"),
    "endurance": ("benchmarks.growth", "Endurance"),
}


def run_job(kind: str, group: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The result of one job, with `status`: `"ok"`, or `"failed"` and then an `error`."""
    line: dict[str, Any] = {"kind": kind, "group": group, **parameters}
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder, "result"), Path(folder, "log")
        command = [sys.executable, "-m", __name__, kind, json.dumps(parameters), str(result)]
        with log.open("wb") as output:
            code = _run(command, output)
        if code == 0 and result.exists():
            return {**line, "status": "ok", **json.loads(result.read_text())}
        said = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        why = f"killed after {DEADLINE:g} s" if code is None else f"exited with code {code}"
        return {**line, "status": "failed", "error": f"{why}\n{said}"}


def _run(command: list[str], output: Any) -> int | None:
    """The exit code; None when the deadline passed."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    ended = False
    try:
        pidfd = os.pidfd_open(process.pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        ended = bool(poll.poll(DEADLINE * 1000))
        os.close(pidfd)
    finally:
        _kill_all(process.pid)  # not reaped yet, so its number is its own
        code = process.wait()
    return code if ended else None


def _kill_all(pid: int) -> None:
    """The process, its descendants, and whatever is left in its group by those that crashed."""
    import psutil

    for one in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def machine() -> dict[str, Any]:
    """Where and when a line was measured."""
    import numpy as np

    models = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "numpy": np.__version__,
    }


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(path).read_text().splitlines()
    return []


def _main(kind: str, parameters: str, result: str) -> None:
    module, name = KINDS[kind]
    job = getattr(importlib.import_module(module), name)(**json.loads(parameters))
    where = machine()
    os.chdir(Path(result).parent)  # some libraries leave files where they are run
    Path(result).write_text(json.dumps({**job.run(), "machine": where}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
