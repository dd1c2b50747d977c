"""What a pool counted, in units a person reads: which env is slow, and who waits for whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_AS_COUNTED = (
    *("steps", "episodes", "step_seconds", "caller_waited_seconds", "caller_inside_seconds"),
    *("worker_idle_seconds", "batches", "in_flight", "batches_held", "batches_touched", "batches_bound"),
    "private_copies",
)


def readable(
    counted: Mapping[str, Any], restarts: Sequence[int], batch_size: int, lifetime: float
) -> dict[str, Any]:
    """The engine's counters as `Pool.stats()` shows them.

    Per env, lists in the order of env ids: `steps`, `episodes`, `restarts`, `step_seconds` (total time in
    the env, resets included) and `step_histogram`: {upper bound in seconds: calls that took at most that,
    and more than half of it}.

    Per pool: `caller_inside_seconds` (the caller stepped envs or waited for them), `caller_waited_seconds`
    (it only waited), `worker_idle_seconds` per queue (its workers waited for the caller), `bound_by`:
    `"envs"` when the caller was inside for more than half of the pool's life, else `"caller"`; `fill`: rows
    per batch over `batch_size`; and counts of batches.
    """
    batches, second = counted["batches"], counted["seconds_per_tick"]
    return {
        **{key: counted[key] for key in _AS_COUNTED},
        "restarts": list(restarts),
        "step_histogram": [_histogram(buckets, second) for buckets in counted["histograms"]],
        "bound_by": "envs" if counted["caller_inside_seconds"] > lifetime / 2 else "caller",
        "fill": counted["rows"] / (batches * batch_size) if batches else 0.0,
    }


def _histogram(buckets: Sequence[int], second: float) -> dict[float, int]:
    return {(1 << power) * second: count for power, count in enumerate(buckets) if count}
