"""What nobody can beat on this machine: hooks called with nothing around them, and cores that share nothing.

Bare      the env's hooks called from C++, their results thrown away (cpp/bare_calls.cc)
Ceiling   unconnected processes, each stepping envs of its own in a plain loop, all at the same time
Memcpy    the obs of a batch copied, and nothing else
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.envs import ENVS, Env
from benchmarks.loop import Loop
from envpool_wrap.tuning.turns import Turn, run_for

_SOURCE = Path(__file__).parent / "cpp" / "bare_calls.cc"
_HOOKS = ("_step_envpool", "_reset_envpool", "_done_envpool", "_make_obs_envpool", "_reward_envpool")


def build_bare_calls() -> Path:
    """The compiled library, made again when its source changed."""
    folder = Path(os.environ["ENVPOOL_WRAP_HOME"])
    library = folder / f"bare_calls{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not library.exists() or library.stat().st_mtime < _SOURCE.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CXX") or "c++")
        include = sysconfig.get_path("include")
        flags = ["-std=c++20", "-O3", "-DNDEBUG", "-shared", "-fPIC", f"-I{include}"]
        built = library.with_suffix(f".{os.getpid()}")
        subprocess.run([*compiler, *flags, str(_SOURCE), "-o", str(built)], check=True)
        built.replace(library)
    return library


class Bare:
    """`num_envs` envs whose hooks are called from C++."""

    def __init__(self, env: Env, actions: NDArray[Any]) -> None:
        self.step_envs = ctypes.PyDLL(str(build_bare_calls())).step_envs  # PyDLL keeps the GIL
        self.step_envs.argtypes = [ctypes.py_object, ctypes.py_object, ctypes.c_ssize_t]
        self.step_envs.restype = ctypes.py_object
        envs = [env.hooks(i) for i in range(actions.shape[1])]
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
        shares = np.array_split(np.arange(max(num_envs, processes)), processes)
        self.children: list[Any] = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, name, str(share[0]), str(share[-1] + 1), autoreset],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=Path(__file__).absolute().parent.parent,
                text=True,
            )
            for share in shares
        ]

    @property
    def pids(self) -> list[int]:
        """The process ids of the loops."""
        return [child.pid for child in self.children]

    def turn(self, seconds: float) -> Turn:
        """All at once, for so long. The rate is the sum of theirs; CPU time is not taken."""
        for child in self.children:
            child.stdin.write(f"{seconds}\n")
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


def _step_alone(name: str, first: str, last: str, autoreset: str) -> None:
    """One process of the ceiling: a round for each line that comes in, until there is no more."""
    env, ids = ENVS[name], range(int(first), int(last))
    batches = itertools.cycle(env.actions(len(ids)))
    loop = Loop(env, ids, autoreset)
    loop.reset()

    def run(times: int) -> None:
        for _ in range(times):
            loop.step(next(batches))

    run_for(run, 0.05)
    print("ready", flush=True)
    for line in sys.stdin:
        times, elapsed = run_for(run, float(line))
        print(times * len(ids) / elapsed, flush=True)


if __name__ == "__main__":
    _step_alone(*sys.argv[1:])
