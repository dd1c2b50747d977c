"""What nobody can beat on this machine: hooks called with nothing around them, and cores that share nothing.

Bare      the env's hooks called from C++, their results thrown away (cpp/bare_calls.cc)
Ceiling   unconnected processes, each stepping envs of its own in a plain loop, all at the same time
Lockstep  the same processes, which wait for each other after each batch and exchange nothing else: what is
          left to a pool that returns whole batches, on cores that are not equally fast at every moment
Memcpy    the obs of a batch copied, and nothing else
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.envs import ENVS, Env
from benchmarks.library import build
from benchmarks.loop import Loop
from envpool_wrap.tuning.turns import Turn, run_for

_WORDS = 4096  # bytes that the processes of a ceiling share
_HOOKS = ("_step_envpool", "_reset_envpool", "_done_envpool", "_make_obs_envpool", "_reward_envpool")


class Bare:
    """`num_envs` envs whose hooks are called from C++."""

    def __init__(self, env: Env, actions: NDArray[Any]) -> None:
        self.step_envs = ctypes.PyDLL(str(build("bare_calls"))).step_envs  # PyDLL keeps the GIL
        self.step_envs.argtypes = [ctypes.py_object, ctypes.py_object, ctypes.c_ssize_t]
        self.step_envs.restype = ctypes.py_object
        envs = [env.source(i) for i in range(actions.shape[1])]
        for one in envs:
            one._reset_envpool()
        self.hooks = [tuple(getattr(one, hook) for hook in _HOOKS) for one in envs]
        # As a pool hands them over: ints, or arrays.
        self.batches = actions.tolist() if actions.ndim == 2 else [list(batch) for batch in actions]

    def run(self, times: int) -> None:
        """Step all envs so many times."""
        self.step_envs(self.hooks, self.batches, times)


class Memcpy:
    """Obs of `num_envs` envs that are copied into a batch; two batches take turns, as in a pool."""

    def __init__(self, env: Env, num_envs: int) -> None:
        obs = np.stack([env.as_gymnasium(i).reset()[0] for i in range(num_envs)])
        self.obs, self.batches = obs, itertools.cycle([np.empty_like(obs), np.empty_like(obs)])

    def run(self, times: int) -> None:
        """Copy so many batches."""
        for _ in range(times):
            np.copyto(next(self.batches), self.obs)


class Ceiling:
    """`processes` loops that share `num_envs` envs among them, and nothing else. A context manager."""

    def __init__(self, name: str, num_envs: int, processes: int, autoreset: str) -> None:
        with tempfile.TemporaryFile() as words:
            words.truncate(_WORDS)
            shared = [name, autoreset, max(num_envs, processes), processes, words.fileno()]
            self.children: list[Any] = [
                subprocess.Popen(
                    [sys.executable, "-m", __name__, *map(str, shared), str(which)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=Path(__file__).absolute().parent.parent,
                    pass_fds=[words.fileno()],
                    text=True,
                )
                for which in range(processes)
            ]

    @property
    def pids(self) -> list[int]:
        """The process ids of the loops."""
        return [child.pid for child in self.children]

    def turn(self, seconds: float, *, lockstep: bool = False) -> Turn:
        """All at once, for so long. The rate is the sum of theirs; CPU time is not taken."""
        for child in self.children:
            child.stdin.write(f"{seconds} {'lockstep' * lockstep}\n")
            child.stdin.flush()
        rates = [float(child.stdout.readline()) for child in self.children]
        return Turn(sum(rates))

    def __enter__(self) -> Ceiling:
        for child in self.children:
            if child.stdout.readline() != "ready\n":
                raise RuntimeError("a process of the ceiling did not start: see its traceback above")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children:
            child.stdin.close()
        for child in self.children:
            child.wait(60)
            child.stdout.close()


class _Share:
    """One process of the ceiling: its envs, and the words by which those of a lockstep wait for each other.

    Word 0 counts the batches that the first process has begun, word i those that process i is done with; the
    last one tells which turn is over. Whoever waits here for a process that is gone is killed with the job.
    """

    def __init__(
        self, env: Env, autoreset: str, num_envs: int, processes: int, words: memoryview, which: int
    ) -> None:
        self.num_envs, self.which, self.others, self.words = num_envs, which, range(1, processes), words
        ids = np.array_split(np.arange(num_envs), processes)[which]
        self.loop = Loop(env, range(ids[0], ids[-1] + 1), autoreset)
        self.batches = itertools.cycle(env.actions(len(ids)))
        self.loop.reset()
        self.turns = 0

    def run(self, times: int) -> None:
        for _ in range(times):
            self.loop.step(next(self.batches))

    def lead(self, times: int) -> None:
        words = self.words
        for _ in range(times):
            words[0] += 1
            self.run(1)
            for other in self.others:
                while words[other] < words[0]:
                    pass

    def follow(self) -> None:
        words, me = self.words, self.which
        while words[-1] < self.turns:
            if words[me] < words[0]:
                self.run(1)
                words[me] += 1

    def apart(self, seconds: float) -> float:
        """The rate of its own envs."""
        times, elapsed = run_for(self.run, seconds)
        return times * len(self.loop.envs) / elapsed

    def together(self, seconds: float) -> float:
        """The rate of all envs, for the first process; the others return 0."""
        self.turns += 1
        if self.which > 0:
            self.follow()
            return 0.0
        times, elapsed = run_for(self.lead, seconds)
        self.words[-1] = self.turns
        return times * self.num_envs / elapsed


def _main(name: str, autoreset: str, num_envs: str, processes: str, words: str, which: str) -> None:
    """One process of the ceiling: a turn for each line that comes in, until there is no more."""
    shared = memoryview(mmap.mmap(int(words), _WORDS)).cast("q")
    share = _Share(ENVS[name], autoreset, int(num_envs), int(processes), shared, int(which))
    share.apart(0.05)
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, *how = line.split()
        print(share.together(float(seconds)) if how else share.apart(float(seconds)), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
