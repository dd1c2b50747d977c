"""What BatchedPool costs: a simulator stepped bare and through a pool, in turns, in one process.

    python -m benchmarks.batched                     NumPy, torch and JAX on the CPU
    python -m benchmarks.batched --device cuda:0     torch and JAX on that GPU

A step of "nothing" returns arrays that were made beforehand, so that all of the time is the pool's; "points"
moves its rows and resets those that end. Each number is the least of 15 rounds. On a GPU the clock stops once
the device is done.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import platform
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from envpool_wrap.batched.arrays import namespace
from envpool_wrap.integrations.batched import BatchedPool


class Nothing(VectorEnv[Any, Any, Any]):
    """The same arrays in every step."""

    metadata = {  # noqa: RUF012
        "autoreset_mode": AutoresetMode.NEXT_STEP
    }
    single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (8,), np.float32)
    single_action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, xp: Any, num_envs: int, device: Any) -> None:
        self.xp, self.num_envs, self.device = xp, num_envs, device

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.obs = self.xp.zeros((self.num_envs, 8), dtype=self.xp.float32, device=self.device)
        reward = self.xp.zeros(self.num_envs, dtype=self.xp.float32, device=self.device)
        flag = self.xp.zeros(self.num_envs, dtype=self.xp.bool, device=self.device)
        self.answer: tuple[Any, ...] = (self.obs, reward, flag, flag, {})
        return self.obs, {}

    def step(self, actions: Any) -> Any:
        return self.answer


class Points(Nothing):
    """Rows that move by their actions and are reset in the step after the one that takes them too far."""

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.over = self.answer[2]
        self.advance: Callable[..., Any] = self._advance
        if self.xp.__name__ == "jax.numpy":
            import jax

            self.advance = jax.jit(self._advance)
        return self.obs, {}

    def _advance(self, obs: Any, over: Any, actions: Any) -> Any:
        xp = self.xp
        going = xp.astype(~over, xp.float32)[:, None]
        moved = xp.concat([obs[:, :6] * 0.99, obs[:, 6:] + actions], axis=1) * going
        far = xp.sum(moved[:, 6:] ** 2, axis=1)
        return moved, -far, far > 100, over & ~over

    def step(self, actions: Any) -> Any:
        self.obs, reward, self.over, truncated = self.advance(self.obs, self.over, actions)
        return self.obs, reward, self.over, truncated, {}


SIMULATORS = {"nothing": Nothing, "points": Points}


def microseconds(venv: Any, action: Any, steps: int, wait: Callable[[Any], Any]) -> float:
    """Of one step, on average."""
    begun = time.perf_counter()
    for _ in range(steps):
        _, reward, *_ = venv.step(action)
    wait(reward)
    return (time.perf_counter() - begun) / steps * 1e6


def measure(make: type[Nothing], library: str, rows: int, device: str, rounds: int) -> tuple[float, float]:
    """Microseconds of a step: (bare, through a pool), each the least of rounds in turns."""
    xp, place, wait = namespace(library), *place_of(library, device)
    venv, pool = make(xp, rows, place), BatchedPool(make(xp, rows, place))
    action = xp.ones((rows, 2), dtype=xp.float32, device=place) * 0.1
    for one in (venv, pool):
        one.reset()
        microseconds(one, action, 20, wait)
    steps = max(10, int(20_000 / max(1.0, microseconds(pool, action, 20, wait))))
    times = [[microseconds(one, action, steps, wait) for one in (venv, pool)] for _ in range(rounds)]
    bare, through = map(min, zip(*times, strict=True))
    return bare, through


def place_of(library: str, device: str) -> tuple[Any, Callable[[Any], Any]]:
    """The device in the library's words, and what waits for it to have computed an array."""
    kind, _, number = device.partition(":")
    if library == "torch":
        import torch

        on_gpu = kind == "cuda"
        return torch.device(device), lambda array: torch.cuda.synchronize(device) if on_gpu else None
    if library == "jax":
        import jax

        there = jax.devices("gpu" if kind == "cuda" else kind)[int(number or 0)]
        return there, lambda array: array.block_until_ready()
    return "cpu", lambda array: None


def libraries(device: str) -> Iterator[str]:
    """Those that are installed and have the device."""
    for library in ("numpy", "torch", "jax"):
        if importlib.util.find_spec(library) is None or (library == "numpy" and device != "cpu"):
            continue
        try:
            place_of(library, device)
        except RuntimeError as error:  # JAX was installed without CUDA
            print(f"{library}: {error}", file=sys.stderr)
        else:
            yield library


def name_of(device: str) -> str:
    """What the device calls itself."""
    if device == "cpu":
        return platform.processor() or platform.machine()
    import torch

    return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu, or such as cuda:0")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64, 4096])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    print(f"{datetime.date.today()}, {arguments.device}: {name_of(arguments.device)}\n")
    print("| simulator | library | rows | bare, µs | pool, µs | cost, µs | ratio | env-steps/s |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for library in libraries(arguments.device):
        for name, make in SIMULATORS.items():
            for rows in arguments.num_envs:
                bare, through = measure(make, library, rows, arguments.device, arguments.rounds)
                numbers = f"{bare:.1f} | {through:.1f} | {through - bare:.1f} | {through / bare:.2f}"
                print(f"| {name} | {library} | {rows:,} | {numbers} | {rows / through * 1e6:,.0f} |")


if __name__ == "__main__":
    main()
