"""What this machine has of what is needed: to generate modules, and to run pools."""

from __future__ import annotations

import ctypes
import importlib.metadata
import mmap
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from envpool_protocol import EnvPoolProtocol, __version__, compiler, records
from envpool_protocol.errors import BuildError
from envpool_wrap import backends, registry

DISTRIBUTION = "envpool-wrapper"
_TOOLS = ("cmake", "ninja")
_FUTEX = {"x86_64": 202, "aarch64": 98}  # the number of the system call
_FUTEX_WAKE = 1


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        state: `missing` is what something needs; `note` is worth knowing.
        found: what is there.
        advice: what to do; empty if nothing.
    """

    name: str
    state: Literal["ok", "note", "missing"]
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """All findings."""
    return [finding for check in CHECKS for finding in check()]


def state_of(record: records.Record) -> str:
    """Why the module of a record will be, or may have to be, generated again; empty if it is ready."""
    if why := registry.outdated(record):
        return why
    file = record.origin.file
    if file is not None and not Path(file).is_file():
        return f"its source {file} is gone"
    changed = registry.source_changed(record)
    return "its source changed; the next make() compares its spaces" if changed else ""


# To generate


def _python() -> Iterator[Finding]:
    gil = "with a GIL" if backends.has_gil() else "without a GIL"
    found = f"{platform.python_version()}, {platform.python_implementation()}, {gil}: {sys.executable}"
    if backends.has_gil() and sysconfig.get_config_var("Py_GIL_DISABLED"):
        yield Finding(
            "Python",
            "note",
            found,
            "a free-threaded build whose GIL is on: a module put it back, or PYTHON_GIL=1",
        )
    else:
        yield Finding("Python", "ok", found)


def _headers() -> Iterator[Finding]:
    folder = Path(sysconfig.get_paths()["include"])
    if (folder / "Python.h").is_file():
        yield Finding("Python's headers", "ok", str(folder))
    else:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
        advice = f"install them: apt-get install {package}, or dnf install python3-devel"
        yield Finding("Python's headers", "missing", f"no Python.h in {folder}", advice)


_CXX20 = """
#include <concepts>
#include <span>
template <std::integral T> T first(std::span<T> values) { return values[0]; }
"""


def _compiler() -> Iterator[Finding]:
    try:
        found = compiler.find_compiler()
    except BuildError as error:
        problem, _, advice = str(error).partition(". ")
        yield Finding("C++ compiler", "missing", problem, advice)
        return
    command = [found.path, *found.arguments, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"]
    done = subprocess.run(command, input=_CXX20, text=True, capture_output=True, timeout=60)
    if done.returncode == 0:
        yield Finding("C++ compiler", "ok", f"{found.version}: {found.path}")
    else:
        advice = "use g++ 11, clang++ 14 or newer; CXX names another"
        yield Finding("C++ compiler", "missing", f"{found.version} cannot compile C++20", advice)


def _tools() -> Iterator[Finding]:
    for name in _TOOLS:
        try:
            yield Finding(name, "ok", compiler.tool_path(name))
        except BuildError:
            yield Finding(name, "missing", "not found", f"pip install {name}")


def _dependencies() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    yield Finding(DISTRIBUTION, "ok", __version__)
    for text in importlib.metadata.requires(DISTRIBUTION) or ():
        needed = Requirement(text)
        wanted = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if not wanted or needed.name in _TOOLS:
            continue
        advice = f"pip install '{needed.name}{needed.specifier}'"
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(needed.name, "missing", "not installed", advice)
            continue
        fits = needed.specifier.contains(version, prereleases=True)
        found = version if fits else f"{version}, expected {needed.specifier}"
        yield Finding(needed.name, "ok" if fits else "missing", found, "" if fits else advice)


# To run


def _cores() -> Iterator[Finding]:
    usable, machine = backends.cores(), os.cpu_count() or 1
    found = f"{usable} of {machine} may be used, by affinity and the quota of the control group"
    advice = "with one core, backend='auto' steps inline; give the container more to gain from workers"
    yield Finding("cores", "ok" if usable > 1 else "note", found, "" if usable > 1 else advice)


def _shared_memory() -> Iterator[Finding]:
    if not backends.has_worker_processes():
        yield Finding(
            "worker processes", "note", f"not on {sys.platform}", "use backend='inline' or 'thread'"
        )
        return
    for name, works in _SYSTEM_CALLS.items():
        try:
            works()
            yield Finding(name, "ok", "works")
        except (OSError, AttributeError) as error:
            advice = (
                "backend='process' needs it: use a newer kernel, or let the sandbox's seccomp rules allow it"
            )
            yield Finding(name, "missing", str(error), advice)
    try:
        _step_in_a_process()
        yield Finding("worker processes", "ok", "a pool stepped in one")
    except Exception as error:  # whatever is wrong is what is looked for
        found = f"{type(error).__name__}: {error}".partition("\n")[0]
        yield Finding("worker processes", "missing", found, "use backend='inline' until this is mended")


def _memfd() -> None:
    os.close(os.memfd_create("envpool-doctor"))


def _pidfd() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _futex() -> None:
    """Wake nobody, on a word that other processes could share."""
    number = _FUTEX.get(platform.machine())
    if number is None:
        return
    fd = os.memfd_create("envpool-doctor")
    try:
        os.ftruncate(fd, mmap.PAGESIZE)
        with mmap.mmap(fd, mmap.PAGESIZE) as page:
            word = ctypes.c_uint32.from_buffer(page)
            libc = ctypes.CDLL(None, use_errno=True)
            woken = libc.syscall(number, ctypes.byref(word), _FUTEX_WAKE, 1, None, None, 0)
            del word  # the mapping cannot be closed while it is there
        if woken < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(fd)


_SYSTEM_CALLS: dict[str, Callable[[], None]] = {"memfd": _memfd, "pidfd": _pidfd, "futex": _futex}


class Probe(EnvPoolProtocol):
    """An env that does nothing."""

    def __init__(self, envid: int = 0) -> None:
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def _reset_envpool(self) -> None:
        pass

    def _step_envpool(self, action: Any) -> None:
        pass

    def _make_obs_envpool(self) -> Any:
        return np.ones(1, np.float32)

    def _done_envpool(self) -> bool:
        return False

    def _reward_envpool(self) -> float:
        return 0.0


def _step_in_a_process() -> None:
    from envpool_wrap.env_fns import from_env_fns

    with from_env_fns([Probe, Probe], "gym", backend="process", num_threads=1) as pool:
        pool.reset()
        obs = pool.step(np.zeros(2, np.int64))[0]
    if obs.tolist() != [[1.0], [1.0]]:
        raise RuntimeError(f"it returned {obs.tolist()}")


# What was generated


def _home() -> Iterator[Finding]:
    home = records.home()
    folder = next(folder for folder in (home, *home.parents) if folder.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
        yield Finding("modules' folder", "ok", str(home))
    except OSError as error:
        advice = "set ENVPOOL_WRAP_HOME to a folder that can be written"
        yield Finding("modules' folder", "missing", f"{home}: {error}", advice)


def _modules() -> Iterator[Finding]:
    for record in records.all_records():
        why = state_of(record)
        again = f"CppWrapperGenerator.generate_envpool_wrap({record.task_id!r})"
        if why:
            yield Finding(record.task_id, "note", why, f"make() generates it again, or {again}")
        else:
            yield Finding(record.task_id, "ok", "generated")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _headers,
    _compiler,
    _tools,
    _dependencies,
    _cores,
    _shared_memory,
    _home,
    _modules,
)
