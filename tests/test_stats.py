"""`stats()` says which env is slow, and who waits for whom. Its counts are exact."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from envs import Counting, Faulty, Gated, idle_actions

from envpool_wrap.stats import readable

KEYS = {
    "steps",
    "episodes",
    "restarts",
    "step_seconds",
    "step_histogram",
    "caller_waited_seconds",
    "caller_inside_seconds",
    "worker_idle_seconds",
    "bound_by",
    "fill",
    "batches",
    "in_flight",
    "batches_held",
    "batches_touched",
    "batches_bound",
    "private_copies",
}
COUNTED = dict.fromkeys(KEYS, 0) | {"histograms": [[0, 3, 0, 2]], "seconds_per_tick": 0.5, "rows": 6}


class Work:
    """A step that works for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, action: Any) -> None:
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            pass


def test_a_figure_is_not_documented_or_missing(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    assert set(pool.stats()) == KEYS
    assert all(key in (readable.__doc__ or "") for key in KEYS if not key.startswith(("batches", "p", "in_")))


@pytest.mark.parametrize(
    ("inside", "lifetime", "bound_by"), [(3.0, 4.0, "envs"), (1.0, 4.0, "caller"), (0.0, 0.0, "caller")]
)
def test_the_slower_side_is_the_other_one(inside: float, lifetime: float, bound_by: str) -> None:
    counted = {**COUNTED, "batches": 2, "caller_inside_seconds": inside}
    shown = readable(counted, [0], 4, lifetime)
    assert (shown["bound_by"], shown["fill"]) == (bound_by, 0.75)
    assert shown["step_histogram"] == [{1.0: 3, 4.0: 2}]


def test_a_pool_that_did_nothing_divides_by_zero(make: Any, backend: str) -> None:
    stats = make(Counting, num_envs=2, backend=backend).stats()
    assert (stats["fill"], stats["steps"], stats["episodes"]) == (0, [0, 0], [0, 0])
    assert stats["step_histogram"] == [{}, {}]
    assert stats["step_seconds"] == [0, 0]


@pytest.mark.parametrize("batch_size", [0, 2])
def test_counts_are_about_right(make: Any, backend: str, batch_size: int) -> None:
    """Every batch but the last holds two rows; env i ends after 2 + i steps, and then resets."""
    workers = 0 if backend == "inline" else 3
    pool = make(Counting, num_envs=3, batch_size=batch_size, backend=backend, num_threads=workers)
    pool.async_reset()
    sent = np.ones(3, int)
    rows = batches = 0
    while pool.stats()["in_flight"]:
        ids = pool.recv()[4]["env_id"]
        rows, batches = rows + len(ids), batches + 1
        again = ids[sent[ids] < 21]
        sent[again] += 1
        if len(again):
            pool.send(idle_actions(Counting, len(again)), again)
    stats = pool.stats()
    assert rows == 63
    # Twenty rows after the reset: 2 + i steps and a reset make an episode.
    assert stats["steps"] == [14, 15, 16]
    assert stats["episodes"] == [7, 5, 4]
    assert stats["batches"] == batches
    assert stats["fill"] == pytest.approx(63 / batches / (batch_size or 3))
    assert [sum(one.values()) for one in stats["step_histogram"]] == [21, 21, 21]
    assert stats["restarts"] == [0, 0, 0]
    assert all(seconds > 0 for seconds in stats["step_seconds"])


def test_short_batches_count_as_full(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=4, batch_size=2, backend=backend)
    pool.async_reset()
    for _ in range(2):
        pool.recv()
    assert pool.stats()["fill"] == 1
    for _ in range(2):
        pool.step(idle_actions(Counting, 1), [3])
    assert (pool.stats()["batches"], pool.stats()["fill"]) == (4, 0.75)


def test_a_slow_env_is_not_to_be_found(make: Any, backend: str) -> None:
    workers = 0 if backend == "inline" else 2
    pool = make(Counting, num_envs=4, backend=backend, num_threads=workers, env_kwargs={"ends_after": 99})
    for env_id in range(4):
        pool.set_attr("_step_envpool", Work(4e-3 if env_id == 2 else 2e-4), env_id=env_id)
    pool.reset()
    times = 25
    for _ in range(times):
        pool.step(idle_actions(Counting, 4))
    stats = pool.stats()
    seconds = stats["step_seconds"]
    assert max(range(4), key=seconds.__getitem__) == 2
    assert seconds[2] >= times * 4e-3
    assert all(one >= times * 2e-4 for one in seconds)
    # The medians, which a busy machine does not move, are a factor of 20 apart.
    medians = [median(one) for one in stats["step_histogram"]]
    assert all(medians[2] >= 8 * medians[env_id] for env_id in (0, 1, 3)), stats["step_histogram"]
    assert stats["bound_by"] == "envs"


def median(histogram: dict[float, int]) -> float:
    left = sum(histogram.values()) / 2
    for bound in sorted(histogram):
        left -= histogram[bound]
        if left <= 0:
            return bound
    raise AssertionError("an empty histogram")


def test_a_slow_caller_is_blamed_on_the_envs(make: Any, backend: str) -> None:
    workers = 0 if backend == "inline" else 2
    pool = make(Counting, num_envs=2, backend=backend, num_threads=workers)
    for _ in range(5):
        pool.step(idle_actions(Counting, 2))
        Work(0.05)(None)
    stats = pool.stats()
    assert stats["bound_by"] == "caller"
    assert stats["caller_waited_seconds"] <= stats["caller_inside_seconds"] < 0.25
    if backend != "inline":
        assert max(stats["worker_idle_seconds"]) > 0


def test_waiting_is_not_told_from_stepping(make: Any, apart: Any) -> None:
    pool = make(Faulty, num_envs=2, **apart)
    pool.set_attr("_step_envpool", Work(0.01))
    pool.reset()
    before = pool.stats()["caller_waited_seconds"]
    for _ in range(10):
        pool.step(np.zeros(2, int))
    waited = pool.stats()["caller_waited_seconds"] - before
    assert waited > 0.05
    inline = make(Faulty, num_envs=2)
    inline.set_attr("_step_envpool", Work(0.01))
    inline.step(np.zeros(2, int))
    inline.step(np.zeros(2, int))
    assert inline.stats()["caller_waited_seconds"] == 0
    assert inline.stats()["caller_inside_seconds"] > 0.02


def test_counts_of_a_running_env_cannot_be_read(make: Any, apart: Any) -> None:
    pool = make(Gated, num_envs=2, **apart)
    pool.reset()
    Gated.shut(0)
    pool.send(np.zeros(2, int))
    Gated.await_entered(0)
    assert pool.stats()["steps"][0] == 0
    assert pool.stats()["in_flight"] == 2
    Gated.open(0)
    pool.recv()
    assert pool.stats()["steps"] == [1, 1]


def test_failed_and_cut_episodes_are_not_counted(make: Any, backend: str) -> None:
    kwargs = [{"fail_in": "_reward_envpool"}, {}]
    pool = make(
        Faulty, num_envs=2, backend=backend, env_kwargs=kwargs, on_error="restart", max_episode_steps=2
    )
    pool.reset()
    for _ in range(6):
        pool.step(np.zeros(2, int))
    stats = pool.stats()
    assert stats["steps"] == [0, 4]
    assert stats["episodes"] == [3, 2]
    assert stats["restarts"] == [3, 0]
