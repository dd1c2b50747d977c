"""What a pool counted, in units a person reads: which env is slow, and who waits for whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def readable(
    counted: Mapping[str, Any], restarts: Sequence[int], batch_size: int, lifetime: float
) -> dict[str, Any]:
    """The engine's counters as `Pool.stats()` shows them.

    Per env, lists in the order of env ids: `steps`, `episodes`, `restarts`, `step_seconds` (total time spent in
    the env, resets included) and `step_histogram`, a dict from an upper bound in seconds to how many calls took
    at most that and more than half of it.

    Per pool: `caller_waited_seconds` (the caller had nothing to do but wait for envs), `worker_idle_seconds` per
    queue (its workers had nothing to do but wait for the caller), `fill` (rows per batch over `batch_size`),
    `bound_by`: `"envs"` or `"caller"`, whichever keeps the other waiting longer; and the ring's counts.
    """
    second = counted["seconds_per_tick"]
    waited, idle = counted["caller_waited_seconds"], counted["worker_idle_seconds"]
    batches = counted["batches"]
    stepping = sum(counted["step_seconds"])
    # An inline pool never waits: there the caller is bound by envs for as long as it is inside them.
    inside = max(waited, stepping if not any(idle) else waited)
    return {
        "steps": counted["steps"],
        "episodes": counted["episodes"],
        "restarts": list(restarts),
        "step_seconds": counted["step_seconds"],
        "step_histogram": [_histogram(buckets, second) for buckets in counted["histograms"]],
        "caller_waited_seconds": waited,
        "worker_idle_seconds": idle,
        "bound_by": "envs" if inside >= (max(idle) if any(idle) else lifetime - inside) else "caller",
        "batches": batches,
        "fill": counted["rows"] / (batches * batch_size) if batches else 0.0,
        **{
            key: counted[key]
            for key in ("in_flight", "batches_held", "batches_touched", "batches_bound", "private_copies")
        },
    }


def _histogram(buckets: Sequence[int], second: float) -> dict[float, int]:
    return {(1 << power) * second: count for power, count in enumerate(buckets) if count}
