"""The counters of several engines as if they were one's, for `envpool_wrap.stats.readable`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_PER_ENV = {"steps": 0, "episodes": 0, "step_seconds": 0.0}


def joined(rows: Sequence[int], counted: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Lists per env, in the order of env ids.

    Args:
        rows: how many envs each worker has.
        counted: what workers counted, by number; a worker that is not there counts as zeros.
    """
    second = next((its["seconds_per_tick"] for its in counted.values()), 1e-9)
    together: dict[str, Any] = {"histograms": [], "worker_idle_seconds": [], "seconds_per_tick": second}
    for key in _PER_ENV:
        together[key] = []
    for worker, envs in enumerate(rows):
        its = counted.get(worker)
        for key, zero in _PER_ENV.items():
            together[key] += [zero] * envs if its is None else its[key]
        together["worker_idle_seconds"] += [0.0] if its is None else its["worker_idle_seconds"]
        together["histograms"] += [[]] * envs if its is None else _in_ticks_of(second, its)
    return together


def _in_ticks_of(second: float, its: Mapping[str, Any]) -> list[list[int]]:
    """Buckets are powers of two of ticks, and machines differ in those."""
    shift = max(0, round(math.log2(its["seconds_per_tick"] / second)))
    return [[0] * shift + buckets for buckets in its["histograms"]]
