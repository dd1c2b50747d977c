"""What ElegantRL's face costs beside its pool, and what the host's reads cost a batched env. Needs torch.

    python -m benchmarks.elegantrl [--rounds 7] [--seconds 0.2]

Each row is two contenders that take turns; the ratio is the median of those of the rounds. One torch thread.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.__main__ import FOLDER
from benchmarks.envs import ENVS
from envpool_wrap.integrations.elegantrl import ElegantRLVecEnv
from envpool_wrap.tuning.turns import Turn, in_rounds, take_turn

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "chasing_vec_env.py"
Pair = dict[str, Callable[[int], object]]


@contextlib.contextmanager
def face_and_pool(name: str, num_envs: int, backend: str) -> Iterator[Pair]:
    """Steps through the face, and steps of the same pool without it."""
    from envpool_wrap import make, register

    env = ENVS[name]
    register(env.source)
    batches = env.actions(num_envs)
    arrays, tensors = itertools.cycle(batches), itertools.cycle(map(torch.from_numpy, batches))
    with make(env.task_id, "gym", num_envs=num_envs, backend=backend, autoreset_mode="same_step") as pool:
        face = ElegantRLVecEnv(pool)
        face.reset()
        yield {
            "face": lambda times: [face.step(next(tensors)) for _ in range(times)],
            "pool": lambda times: [pool.step(next(arrays)) for _ in range(times)],
        }


@contextlib.contextmanager
def chasing(num_envs: int, device_id: int) -> Iterator[Pair]:
    """The example, and the same asking each env in each step whether its episode ended."""
    spec = importlib.util.spec_from_file_location("chasing_vec_env", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def read_each(env: Any) -> None:
        """New episodes as in a Python loop over the rows."""

        def start(chosen: Any) -> None:
            for row in range(num_envs):
                if chosen[row]:  # the read
                    draws = torch.randn(2, env.dim, generator=env.random, device=env.device)
                    env.p0s[row], env.p1s[row] = draws[0], draws[1] - 8
                    env.v0s[row] = env.v1s[row] = env.steps[row] = 0

        env._start = start

    def steps(env: Any) -> Callable[[int], object]:
        action = torch.ones(num_envs, env.dim, device=env.device)

        def run(times: int) -> None:
            for _ in range(times):
                env.step(action)
            if env.device.type == "cuda":
                torch.cuda.synchronize(env.device)

        return run

    queued, reading = (module.ChasingVecEnv(env_num=num_envs, device_id=device_id, seed=0) for _ in range(2))
    read_each(reading)
    yield {"queued": steps(queued), "reading": steps(reading)}


def measure(pair: Pair, num_envs: int, rounds: int, seconds: float) -> tuple[float, float, float]:
    """Steps of the whole batch in µs, of the first and the second; and the first's rate over the second's."""
    turns = {name: _turn(run, num_envs, seconds) for name, run in pair.items()}
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for name, turn in in_rounds(turns, rounds):
        rates[name].append(turn.rate)
    first, second = rates.values()
    ratio = median(one / other for one, other in zip(first, second, strict=True))
    return 1e6 * num_envs / median(first), 1e6 * num_envs / median(second), ratio


def _turn(run: Callable[[int], object], num_envs: int, seconds: float) -> Callable[[], Turn]:
    return lambda: take_turn(run, num_envs, seconds, [])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2)
    options = parser.parse_args()
    os.environ.setdefault("ENVPOOL_WRAP_HOME", str(FOLDER / "home-elegantrl"))
    torch.set_num_threads(1)
    device_id = 0 if torch.cuda.is_available() else -1
    rows: list[tuple[str, int, contextlib.AbstractContextManager[Pair]]] = [
        (f"face : pool, {env}, {backend}", num_envs, face_and_pool(env, num_envs, backend))
        for env, backend in (("noop", "inline"), ("cartpole", "inline"), ("cartpole", "process"))
        for num_envs in (8, 64)
    ]
    where = "cuda" if device_id == 0 else "cpu"
    rows += [
        (f"chasing : with reads, {where}", num_envs, chasing(num_envs, device_id)) for num_envs in (256, 4096)
    ]
    print("| first : second | envs | first, µs a step | second, µs a step | first's rate over second's |")
    print("|---|---:|---:|---:|---:|")
    for title, num_envs, pair in rows:
        with pair as runs:
            first, second, ratio = measure(runs, num_envs, options.rounds, options.seconds)
        print(f"| {title} | {num_envs} | {first:.1f} | {second:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
