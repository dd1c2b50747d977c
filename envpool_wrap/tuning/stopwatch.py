"""Times envs in a plain loop: each step and each reset by itself."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envpool_protocol.descriptions import Description
from envpool_wrap.nested import flattener
from envpool_wrap.tuning.gil import side_by_side
from envpool_wrap.tuning.loop import Loop
from envpool_wrap.tuning.recording import EnvTimings

_GIL_SHARE = 0.4  # of the time that is given
_MOST_SAMPLES = 500_000
_LEAST_BATCHES = 3


def time_envs(
    loop: Loop, actions: Sequence[Sequence[Any]], description: Description, workers: int, seconds: float
) -> EnvTimings:
    """Time the envs of a loop for so many seconds. What they raise is raised.

    Args:
        loop: its envs are reset, and stepped with `actions`, a list of batches.
        description: of the envs.
        workers: at least 2: also find out what threads gain.
    """
    num_envs, clock = len(loop.envs), _clock_ns()
    resets = [float(taken) for taken in loop.reset()]
    batches, over = _timed_batches(loop, actions, seconds * (1 - _GIL_SHARE))
    times = np.maximum(batches - clock, 1) / 1e3
    steps = times[~over]
    again = times[over]
    gained: list[float] = []
    worth: list[float] = []
    if workers > 1 and num_envs > 1:
        runs = [loop.stepper(env, [batch[env] for batch in actions]) for env in (0, num_envs - 1)]
        gained, worth = side_by_side(runs, seconds * _GIL_SHARE)
    percentiles = {f"p{p}": float(np.percentile(steps, p)) for p in (50, 90, 99)}
    return EnvTimings(
        num_envs=num_envs,
        step_us={"mean": float(steps.mean()), **percentiles, "max": float(steps.max())},
        median_us=[float(np.median(times[:, env][~over[:, env]])) for env in range(num_envs)],
        reset_us=float(np.median(again)) if again.size else median(resets) / 1e3,
        reset_share=float(again.sum() / times.sum()),
        balance=_balance(times, workers),
        workers=workers,
        threads=gained,
        cores_worth=worth,
        obs_bytes=sum(leaf.nbytes for leaf in description.spec.obs.leaves),
        casts=_casts(loop.first_obs, description),
    )


def _timed_batches(
    loop: Loop, actions: Sequence[Any], seconds: float
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Nanoseconds of each env in each batch, and where they were those of a reset."""
    until, taken, over = time.perf_counter() + seconds, [], []
    for number, batch in enumerate(itertools.cycle(actions)):
        late = time.perf_counter() >= until or number * len(batch) >= _MOST_SAMPLES
        if late and number >= _LEAST_BATCHES:
            break
        one, was_over = loop.timed_step(batch)
        taken.append(one)
        over.append(was_over)
    return np.array(taken, float), np.array(over)


def _balance(times: NDArray[Any], workers: int) -> float:
    shares = [part.sum(axis=1) for part in np.array_split(times, workers, axis=1)]
    return float(times.sum() / (workers * np.max(shares, axis=0).sum()))


def _casts(obs: Any, description: Description) -> list[tuple[str, str, str]]:
    spec = description.spec.obs
    found = zip(spec.leaves, flattener(spec)(obs), strict=True)
    pairs = [(leaf, np.asarray(value).dtype.name) for leaf, value in found if leaf.kind == "array"]
    return [(leaf.name, dtype, leaf.dtype.name) for leaf, dtype in pairs if dtype != leaf.dtype.name]


def _clock_ns() -> float:
    """What one look at the clock takes."""
    looks = [time.perf_counter_ns() for _ in range(1000)]
    return median(after - before for before, after in itertools.pairwise(looks))
