"""Compiled hooks beside what they are measured by: `python -m benchmarks.compiled`.

by hand   CartPole written in C++ on two threads, which writes the same arrays (cpp/cart_pole.cc)
kernel    the functions that the hooks became, called in a C++ loop on one thread: the hooks and nothing else
envpool   EnvPool's own CartPole, in C++, where it is installed
loop      the same class interpreted, in a plain Python loop

They take turns in rounds, and ratios are those of one round. A table in markdown is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import importlib.util
import itertools
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import envpool_wrap
from benchmarks.__main__ import FOLDER
from benchmarks.library import build
from envpool_protocol import CppWrapperGenerator
from envpool_wrap.tuning.turns import Turn, in_rounds, run_for

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "compiled"
BATCHES = 32  # of actions, which take turns
NUM_ENVS = (8, 64, 256, 1024, 4096, 16384, 65536, 100_000)
COLUMNS = {
    "envs": "num_envs",
    "M env-steps/s": "pool",
    "ns per env-step": "nanoseconds",
    "× by hand": "by_hand",
    "× envpool": "envpool",
    "× loop": "loop",
    "inline, ns": "inline",
    "hooks alone, ns": "kernel",
    "the engine's share, ns": "share",
}


class ByHand:
    """CartPole in C++ on so many threads."""

    def __init__(self, actions: NDArray[np.int64], threads: int) -> None:
        self.library, self.actions = ctypes.CDLL(str(build("cart_pole"))), actions
        self.library.cart_pole_make.restype = ctypes.c_void_p
        self.library.cart_pole_run.restype = ctypes.c_double
        self.library.cart_pole_run.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t] * 2
        self.library.cart_pole_free.argtypes = [ctypes.c_void_p]
        self.loop = self.library.cart_pole_make(ctypes.c_size_t(actions.shape[1]), ctypes.c_size_t(threads))

    def run(self, times: int) -> None:
        """Step all envs so many times."""
        self.library.cart_pole_run(self.loop, self.actions.ctypes.data, len(self.actions), times)

    def close(self) -> None:
        """Free the envs."""
        self.library.cart_pole_free(self.loop)


class Kernel:
    """The step function of the pool's module, over records of its own."""

    def __init__(self, pool: Any, actions: NDArray[np.int64]) -> None:
        self.records, self.actions = pool._core.records.copy(), actions
        self.run_kernel = ctypes.CDLL(str(build("cart_pole"))).kernel_run
        self.run_kernel.restype = ctypes.c_double
        self.run_kernel.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t, ctypes.c_void_p]
        self.run_kernel.argtypes += [ctypes.c_size_t] * 3
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        self.module = pointer(pool._module.engine_module, b"envpool_wrap.module")

    def run(self, times: int) -> None:
        """Step all envs so many times."""
        kinds, num_envs = self.actions.shape
        data = self.actions.ctypes.data
        if self.run_kernel(self.module, self.records.ctypes.data, num_envs, data, kinds, 8, times) < 0:
            raise RuntimeError("a hook raised")


def stepper(pool: Any, actions: NDArray[np.int64]) -> Callable[[int], None]:
    """`run(times)` that steps a pool with one batch of actions after the other."""
    batches = itertools.cycle(list(actions))

    def run(times: int) -> None:
        for _ in range(times):
            pool.step(next(batches))

    return run


def looper(cls: Any, actions: NDArray[np.int64]) -> Callable[[int], None]:
    """`run(times)` that steps interpreted envs in a plain loop."""
    envs, batches = [cls(i) for i in range(actions.shape[1])], itertools.cycle(actions.tolist())
    for i, env in enumerate(envs):
        env._seed_envpool(i)
        env._reset_envpool()
    out = np.empty((len(envs), *cls.observation_space.shape), cls.observation_space.dtype)
    over = [False] * len(envs)

    def run(times: int) -> None:
        for _ in range(times):
            for i, (env, action) in enumerate(zip(envs, next(batches), strict=True)):
                env._reset_envpool() if over[i] else env._step_envpool(action)
                env._make_obs_envpool(out[i])
                over[i] = env._done_envpool()
                env._reward_envpool()

    return run


def measure(cls: Any, task: str, num_envs: int, rounds: int, seconds: float) -> dict[str, Any]:
    """One row of the table."""
    actions = np.random.default_rng(0).integers(0, 2, (BATCHES, num_envs))
    settings = {"num_envs": num_envs, "max_episode_steps": 500}
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(envpool_wrap.make(task, "gym", **settings))
        runs = {"pool": stepper(pool, actions)}
        pool.reset()
        runs["pool"](4)
        inline = stack.enter_context(envpool_wrap.make(task, "gym", backend="inline", **settings))
        runs["inline"] = stepper(inline, actions)
        inline.reset()
        by_hand = ByHand(actions, os.cpu_count() or 1)
        stack.callback(by_hand.close)
        runs |= {"by_hand": by_hand.run, "kernel": Kernel(inline, actions).run}
        runs["loop"] = looper(cls, actions[:, :64])
        if importlib.util.find_spec("envpool") is not None and num_envs <= 4096:
            envpool: Any = importlib.import_module("envpool")
            theirs = envpool.make("CartPole-v1", "gymnasium", num_envs=num_envs, num_threads=os.cpu_count())
            theirs.reset()
            runs["envpool"] = stepper(theirs, actions)
        taken = dict(_rates(runs, num_envs, rounds, seconds))
    rate = {name: median(rates) for name, rates in taken.items()}

    def over(name: str) -> float:
        return median(ours / theirs for ours, theirs in zip(taken["pool"], taken[name], strict=True))

    return {
        "num_envs": f"{num_envs:,}",
        "pool": f"{rate['pool'] / 1e6:.1f}",
        "nanoseconds": f"{1e9 / rate['pool']:.1f}",
        "by_hand": f"{over('by_hand'):.2f}",
        "envpool": f"{over('envpool'):.0f}" if "envpool" in taken else "",
        "loop": f"{over('loop'):.0f}",
        "inline": f"{1e9 / rate['inline']:.1f}",
        "kernel": f"{1e9 / rate['kernel']:.1f}",
        "share": f"{1e9 / rate['inline'] - 1e9 / rate['kernel']:.1f}",
    }


def _rates(
    runs: dict[str, Callable[[int], None]], num_envs: int, rounds: int, seconds: float
) -> Iterator[tuple[str, list[float]]]:
    """Env-steps/s of each, by rounds."""

    def turn_of(name: str) -> Callable[[], Turn]:
        def turn() -> Turn:
            times, elapsed = run_for(runs[name], seconds)
            return Turn(times * (min(num_envs, 64) if name == "loop" else num_envs) / elapsed)

        return turn

    taken: dict[str, list[float]] = {name: [] for name in runs}
    for name, turn in in_rounds({name: turn_of(name) for name in runs}, rounds):
        taken[name].append(turn.rate)
    yield from taken.items()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--num-envs", default=",".join(map(str, NUM_ENVS)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2)
    options = parser.parse_args()
    os.environ.setdefault("ENVPOOL_WRAP_HOME", str(FOLDER / f"home-{sysconfig.get_config_var('SOABI')}"))
    sys.path.insert(0, str(EXAMPLES))
    cart_pole = importlib.import_module("cart_pole").CartPole

    made = CppWrapperGenerator.generate_envpool_wrap(cart_pole, compiled=True)
    print(f"generated in {made.seconds:.1f} s\n")
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---:" * len(COLUMNS) + "|", flush=True)
    for num_envs in map(int, options.num_envs.split(",")):
        row = measure(cart_pole, made.task_id, num_envs, options.rounds, options.seconds)
        print("| " + " | ".join(row[key] for key in COLUMNS.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
