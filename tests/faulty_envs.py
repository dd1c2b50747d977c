"""The env of the fault matrix: it gets into whatever trouble it is told, where it is told, on any worker."""

from __future__ import annotations

import builtins
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from envpool_protocol import EnvPoolProtocol


class Unpicklable(Exception):
    """Cannot be pickled: it holds a lock."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Unmakeable(Exception):
    """Can be pickled, but not made again from its arguments."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")


class OnlyAtHome:
    """Can be unpickled in the process that made it, and nowhere else."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["home"] != os.getpid():
            raise RuntimeError(f"made in {state['home']}, far from here")
        self.__dict__.update(state)


class Nowhere(OnlyAtHome):
    """Can be unpickled in no process at all."""

    def __init__(self) -> None:
        self.home = 0


class Alarm:
    """Is Ctrl-C to whichever other process unpickles it."""

    def __reduce__(self) -> Any:
        return _ring, (os.getpid(),)


def _ring(home: int) -> None:
    if home != os.getpid():
        signal.raise_signal(signal.SIGINT)


class OnlyAtHomeError(Exception):
    """The same for an exception."""

    def __reduce__(self) -> Any:
        return _remake, (os.getpid(),)


def _remake(home: int) -> OnlyAtHomeError:
    if home != os.getpid():
        raise RuntimeError(f"made in {home}, far from here")
    return OnlyAtHomeError("homesick")


class Silent(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


def _leave_memory_of(size: int) -> None:
    import resource

    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + size, resource.RLIM_INFINITY))


ERRORS = {error.__name__: error for error in (Unpicklable, Unmakeable, OnlyAtHomeError, Silent)}


class Troubled(EnvPoolProtocol):
    """obs float64 [envid, t, pid, option]; does `what` in the hook `at` of env `who` when t is `when`.

    Args:
        what: a method of this class without the underscore, or the name of an exception.
        who: which env, None for all.
        when: at which step of an episode; -1 for any. Seeding, reset and close are not asked.
        scratch: a folder, for `once` (trouble comes only the first time) and what envs leave for the test.
    """

    def __init__(
        self,
        envid: int,
        what: str = "",
        at: str = "_step_envpool",
        who: int | None = None,
        when: int = 1,
        once: bool = False,
        scratch: str = "",
    ) -> None:
        self.envid, self.t, self.option = envid, 0, 0.0
        self.what, self.at, self.who, self.when, self.once = what, at, who, when, once
        self.scratch = Path(scratch)
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = spaces.Discrete(3)
        self.left: Any = None
        self.maybe("__init__")

    def maybe(self, hook: str, when: int | None = None) -> None:
        """Get into trouble, if it is time."""
        if (
            not self.what
            or self.what.startswith("info")
            or hook != self.at
            or self.who not in (None, self.envid)
        ):
            return
        if when is not None and self.when not in (-1, when):
            return
        if self.once:
            try:
                (self.scratch / f"once-{self.envid}").touch(exist_ok=False)
            except FileExistsError:
                return
        self.get_into(self.what)

    def get_into(self, what: str) -> Any:
        """The trouble itself; also for `pool.call("get_into", …)`."""
        if hasattr(self, f"_{what}"):
            return getattr(self, f"_{what}")()
        error = ERRORS.get(what) or getattr(builtins, what)
        raise error(7, f"env {self.envid}") if error is Unmakeable else error(f"env {self.envid} says no")

    def _exit3(self) -> None:
        os._exit(3)

    def _segv(self) -> None:
        import ctypes
        import faulthandler

        faulthandler.disable()
        ctypes.string_at(0)

    def _kill9(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _hang(self) -> None:
        written = self.scratch / f".hangs-{self.envid}"
        written.write_text(str(os.getpid()))
        written.rename(self.scratch / f"hangs-{self.envid}")  # whoever sees it finds the number in it
        while True:
            threading.Event().wait(3600)

    def _chatter(self) -> None:
        for _ in range(64):
            sys.stdout.write("x" * 65536)
        sys.stdout.flush()

    def _fork(self) -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0) == (child, 0)

    def _fork_and_stay(self) -> int:
        child = os.fork()
        if child == 0:
            try:
                signal.pause()
            finally:
                os._exit(0)
        return child

    def _spawn(self) -> int:
        self.left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        return self.left.pid

    def _thread(self) -> None:
        threading.Thread(target=threading.Event().wait, args=(3600,), daemon=True).start()

    def _wander(self) -> None:
        os.chdir("/")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)

    def _deny_term(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)

    def _starve(self) -> None:
        _leave_memory_of(64 << 20)
        self.left = bytearray(1 << 30)

    def _cramped(self) -> Any:
        """More than there is memory for a second time."""
        large = np.zeros(256 << 20, np.uint8)
        _leave_memory_of(64 << 20)
        return large

    def _full(self) -> None:
        """Leave no space for a letter, and raise."""
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        raise ValueError(f"env {self.envid} says no")

    def _devour(self) -> None:
        self.left = b"x" * (256 << 20)

    def about(self) -> dict[str, Any]:
        """What this process looks like from inside."""
        return {
            "pid": os.getpid(),
            "group": os.getpgrp(),
            "folder": os.getcwd(),
            "path": list(sys.path),
            "main": getattr(sys.modules["__main__"], "__file__", ""),
            "environ": dict(os.environ),
            "stdin": os.readlink("/proc/self/fd/0"),
        }

    def odd(self, kind: str) -> Any:
        """A result that is hard to send."""
        return {
            "lock": threading.Lock,
            "home": OnlyAtHome,
            "nowhere": Nowhere,
            "alarm": Alarm,
            "cramped": self._cramped,
            "large": lambda: b"x" * (8 << 20),
        }[kind]()

    def _seed_envpool(self, seed: int) -> None:
        self.maybe("_seed_envpool")

    def _reset_envpool(self, *, option: Any = 0.0) -> None:
        self.t, self.option = 0, float(option)
        self.maybe("_reset_envpool")

    def _step_envpool(self, action: Any) -> None:
        self.t += 1
        self.maybe("_step_envpool", self.t)

    def _make_obs_envpool(self) -> Any:
        self.maybe("_make_obs_envpool", self.t)
        return np.array([self.envid, self.t, os.getpid(), self.option])

    def _done_envpool(self) -> bool:
        self.maybe("_done_envpool", self.t)
        return False

    def _truncated_envpool(self) -> bool:
        self.maybe("_truncated_envpool", self.t)
        return False

    def _reward_envpool(self) -> float:
        self.maybe("_reward_envpool", self.t)
        return 1.0 + self.t

    def _info_envpool(self) -> dict[str, Any]:
        self.maybe("_info_envpool", self.t)
        if self.what.startswith("info-") and self.who in (None, self.envid) and self.t == self.when:
            return {"odd": self.odd(self.what.removeprefix("info-"))}
        return {"t": self.t} if self.what == "info" else {}

    def _close_envpool(self) -> None:
        self.maybe("_close_envpool")
        if self.scratch.name:
            (self.scratch / f"closed-{self.envid}").touch()


# ---- what tests ask of the system ----


def until(condition: Any, within: float = 20.0) -> bool:
    """Wait for a condition that nothing announces; whether it came true in time."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def is_gone(pid: int) -> bool:
    """Whether the process ended (a zombie that nobody waits for has ended)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children_of(pid: int) -> list[int]:
    """All descendants of a process, zombies included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(text.rpartition(")")[2].split()[1]) == pid:
            child = int(stat.parent.name)
            found += [child, *children_of(child)]
    return found


def descriptors() -> list[str]:
    """What this process has open."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(fd))
    return sorted(found)
