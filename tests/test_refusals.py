"""What is refused changes nothing: after each refusal the pool steps on, and the count proves it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from envs import Counting, Gated, Journal, Nested, idle_actions, until, until_it_receives

from envpool_protocol.errors import (
    ActionError,
    EnvError,
    NothingPendingError,
    PendingCallError,
    PoolClosedError,
    PoolError,
    PoolTimeout,
)

NAN = float("nan")
GOOD = np.zeros((3, 1), np.float32)


def refused(pool: Any, use: Callable[[], Any], error: type, message: str) -> None:
    """`use` raises, and the next step is that of a pool where nothing happened."""
    before = pool.stats()["steps"]
    with pytest.raises(error, match=message):
        use()
    assert pool.stats()["steps"] == before
    cls = Counting if pool.action_space.dtype == np.float32 else Gated
    _, _, _, _, info = pool.step(idle_actions(cls, len(pool)))
    assert info["env_id"].tolist() == list(range(len(pool)))
    assert pool.stats()["steps"] == [steps + 1 for steps in before]


class Hostile:
    """An array-like whose conversion raises."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (
            np.zeros((2, 1), np.float32),
            r"action: expected shape \(3, 1\), dtype float32 .*found shape \(2, 1\)",
        ),
        (np.zeros((4, 1), np.float32), r"found shape \(4, 1\)"),
        (np.zeros((0, 1), np.float32), r"found shape \(0, 1\)"),
        (np.zeros(3, np.float32), r"found shape \(3,\), dtype float32"),
        (np.zeros((3, 1, 1), np.float32), r"found shape \(3, 1, 1\)"),
        (np.zeros((1, 3), np.float32), r"found shape \(1, 3\)"),
        (np.float32(0), r"found shape \(\)"),
        (None, r"\(one row per env\), found None"),
        ({"a": 1}, r"found \{'a': 1\}"),
        ("abc", "found 'abc'"),
        ([[0.0], [0.0], [0.0, 1.0]], r"found rows of different shapes: \[\[0\.0\], \[0\.0\], \[0\.0, 1"),
        ([[0.0], [0.0], ["x"]], "cannot turn dtype <U"),
        (np.zeros((3, 1), complex), "cannot turn dtype complex128 into float32"),
        (np.zeros((3, 1), object), "cannot turn dtype object into float32"),
        (np.zeros((3, 1), "M8[s]"), r"cannot turn dtype datetime64\[s\] into float32"),
    ],
)
def test_a_bad_box_action_is_sent(make: Any, backend: str, action: Any, message: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend, env_kwargs={"ends_after": 99})
    pool.reset()
    refused(pool, lambda: pool.step(action), ActionError, message)
    refused(pool, lambda: pool.send(action), ActionError, message)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0, 3, 0], "action: 3 for env 1 is out of range; expected -2 to 2"),
        ([0, 0, -3], "action: -3 for env 2 is out of range"),
        (np.array([2**63, 0, 0], np.uint64), "values from 0 to 9223372036854775808 do not fit in int64"),
        ([2**70, 0, 0], "cannot turn dtype object into int64"),
        ([0.0, 1.0, 1.0], "cannot turn dtype float64 into int64"),
        ([NAN, 1.0, 1.0], "cannot turn dtype float64 into int64"),
        ([[0], [0], [0]], r"expected shape \(3,\), dtype int64 .*found shape \(3, 1\)"),
        (np.array([255, 0, 0], np.uint8), "action: 255 for env 0 is out of range"),
        (1, r"found shape \(\)"),
    ],
)
def test_a_bad_discrete_action_is_sent(make: Any, backend: str, action: Any, message: str) -> None:
    pool = make(Gated, num_envs=3, backend=backend)
    pool.reset()
    refused(pool, lambda: pool.step(action), ActionError, message)


@pytest.mark.parametrize("action", [[2, -2, 0], np.array([2, 1, 0], np.uint8), [True, False, True]])
def test_a_discrete_action_at_its_bound_is_refused(make: Any, action: Any) -> None:
    pool = make(Gated, num_envs=3)
    pool.reset()
    pool.step(action)


def test_a_multidiscrete_or_multibinary_action_out_of_range_is_sent(make: Any, backend: str) -> None:
    pool = make(Nested, num_envs=2, backend=backend)
    pool.reset()
    values = pool.single_action_space.sample()
    key = next(key for key in values if key.startswith("odd"))

    def batch(odd: Any, on: Any) -> Any:
        return {
            "camera": np.zeros((2, 2, 3, 3), np.uint8),
            "arm": (np.zeros(2), {"grip": [-1, 2], "on": on}),
            key: odd,
            "half": np.zeros((2, 2)),
        }

    fine, zeros = np.zeros((2, 2, 2), int), np.zeros((2, 3), int)
    for odd, on, message in (
        (
            np.add(fine, [[0, 0], [0, 5]]),
            zeros,
            r"5 for env 0 \(element 3\) is out of range; expected 0 to 4",
        ),
        (fine - 1, zeros, r"-1 for env 0 \(element 0\)"),
        (fine, np.add(zeros, [0, 2, 0]), r"action\.arm\.1\.on: 2 for env 0 \(element 1\) .*expected 0 to 1"),
        (fine, zeros + 0.0, r"action\.arm\.1\.on: cannot turn dtype float64 into int8"),
    ):
        with pytest.raises(ActionError, match=message):
            pool.step(batch(odd, on))
    pool.step(batch(fine, zeros))
    assert pool.stats()["steps"] == [1, 1]


def test_nan_is_taken_for_an_error(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend, check=False)
    pool.reset()
    assert np.isnan(pool.step(GOOD + np.float32(NAN))[0][:, 2]).all()


def test_an_error_in_the_users_array_is_hidden(make: Any) -> None:
    pool = make(Counting, num_envs=3)
    pool.reset()
    refused(pool, lambda: pool.step(Hostile()), RuntimeError, "no")


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ([0, 3], "env_id 3 is out of range: this pool has envs 0 to 2"),
        ([0, -1], "env_id -1 is out of range"),
        ([0, 2**40], "env_id 1099511627776 is out of range"),
        (np.array([0, 2**64 - 1], np.uint64), "out of range"),
        ([1, 1], "env_id 1 is there twice"),
        ([0.0, 1.0], "env_id: expected one env id or a list of them"),
        ([True, False], "env_id: expected one env id"),
        (True, "env_id: expected one env id"),
        ("ab", "env_id: expected one env id"),
        ([[0, 1]], "env_id: expected one env id"),
        ([[0], [1, 2]], "env_id: expected one env id"),
        ([], "env_id: expected at least one env id, found none"),
        (np.array([], np.int32), "env_id: expected at least one env id"),
        ([None, 1], "env_id: expected one env id"),
    ],
)
def test_a_bad_env_id_is_sent(make: Any, backend: str, env_id: Any, message: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend, env_kwargs={"ends_after": 99})
    pool.reset()
    action = np.zeros((2, 1), np.float32)
    refused(pool, lambda: pool.step(action, env_id), ActionError, message)
    refused(pool, lambda: pool.send(action, env_id), ActionError, message)
    refused(pool, lambda: pool.reset(env_id), ActionError, message)


@pytest.mark.parametrize("batch_size", [0, 2])
def test_an_env_in_flight_is_sent_to_again(make: Any, backend: str, batch_size: int) -> None:
    pool = make(Counting, num_envs=3, backend=backend, batch_size=batch_size)
    pool.async_reset()
    while pool.stats()["in_flight"]:
        pool.recv(reset=True)
    pool.send(GOOD[:2], [1, 2])
    for ids in ([1], [0, 2], [0, 1, 2]):
        with pytest.raises(ActionError, match=r"env [12] is still in flight; recv\(\) its result"):
            pool.send(GOOD[: len(ids)], ids)
    pool.send(GOOD[:1], [0])
    assert pool.stats()["in_flight"] == 3
    seen = []
    while pool.stats()["in_flight"]:
        seen += pool.recv()[4]["env_id"].tolist()
    assert sorted(seen) == [0, 1, 2]
    assert pool.stats()["steps"] == [1, 1, 1]


def test_recv_with_nothing_in_flight_hangs(make: Any, backend: str) -> None:
    for batch_size in (0, 1):
        pool = make(Counting, num_envs=3, backend=backend, batch_size=batch_size)
        with pytest.raises(NothingPendingError, match="nothing in flight"):
            pool.recv()
        pool.reset([0])
        with pytest.raises(NothingPendingError):
            pool.recv()
        assert pool.step(GOOD[:1], [0])[4]["env_id"].tolist() == [0]


def test_step_returns_another_batch_than_the_one_it_sent(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend)
    pool.reset()
    pool.send(GOOD[:1], [0])
    for use in (lambda: pool.step(GOOD[:1], [1]), lambda: pool.reset([1]), lambda: pool.reset()):
        with pytest.raises(PendingCallError, match=r"1 sent batch.* recv\(\) first"):
            use()
    assert pool.recv()[4]["env_id"].tolist() == [0]
    assert pool.step(GOOD)[0][:, 1].tolist() == [2, 1, 1]


def test_a_refused_reset_leaves_its_seeds_and_options_behind(make: Any, backend: str) -> None:
    from envs import Faulty

    pool = make(Faulty, num_envs=2, backend=backend)
    pool.reset()
    with pytest.raises(ActionError):
        pool.reset([0, 5], seed=100, options={"level": 1})
    pool.send(np.zeros(1, int), [0])
    with pytest.raises(PendingCallError):
        pool.reset([1], seed=100, options={"level": 1})
    pool.recv()
    pool.reset()
    assert pool.get_attr("seeds") == [[42], [43]]
    assert pool.get_attr("options") == [{}, {}]


def test_a_closed_pool_is_used(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend)
    pool.reset()
    pool.send(GOOD)
    pool.close()
    for use in (
        lambda: pool.step(GOOD),
        lambda: pool.send(GOOD),
        lambda: pool.recv(),
        lambda: pool.reset(),
        lambda: pool.async_reset(),
        lambda: pool.get_attr("t"),
        lambda: pool.render(),
    ):
        with pytest.raises(PoolClosedError, match="closed"):
            use()
    assert pool.stats()["in_flight"] == 0
    pool.close()


def test_a_second_thread_gets_into_the_pool(make: Any, apart: Any) -> None:
    pool = make(Gated, num_envs=2, **apart)
    pool.reset()
    Gated.shut(0)
    pool.send(np.zeros(2, int))
    result: list[Any] = []
    receiver = threading.Thread(target=lambda: result.append(pool.recv()))
    receiver.start()
    until_it_receives(receiver)
    with pytest.raises(PendingCallError, match="another call is inside this pool"):
        pool.get_attr("t", env_id=0)
    for use in (
        lambda: pool.recv(),
        lambda: pool.send(np.zeros(1, int), [1]),
        lambda: pool.step(np.zeros(2, int)),
        lambda: pool.reset(),
        lambda: pool.async_reset(),
        lambda: pool.close(),
    ):
        with pytest.raises(PendingCallError):
            use()
    Gated.open(0)
    receiver.join()
    assert result[0][0].tolist() == [[0, 1], [1, 1]]
    assert pool.step(np.zeros(2, int))[0].tolist() == [[0, 2], [1, 2]]


def test_a_pool_that_refused_to_close_is_never_closed(make: Any, journal: Journal) -> None:
    pool = make(Counting, num_envs=1, env_kwargs={"closes": journal})
    pool.reset()
    pool.set_attr("_step_envpool", lambda action: pool.close())
    with pytest.raises(EnvError) as caught:
        pool.step(GOOD[:1])
    assert isinstance(caught.value.__cause__, PendingCallError)
    assert journal.ids == []
    assert pool._finalizer.alive
    pool._finalizer()  # as collection and the exit do
    assert journal.ids == [0]


@pytest.mark.parametrize("backend", ["inline", "thread"])  # it cannot be sent to another process
def test_an_env_uses_its_own_pool(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    pool.reset()
    for use in (
        lambda action: pool.recv(),
        lambda action: pool.step(GOOD[:2]),
        lambda action: pool.get_attr("t"),
        lambda action: pool.reset(),
    ):
        pool.set_attr("_step_envpool", use, env_id=0)
        with pytest.raises(EnvError, match="env 0: _step_envpool raised PendingCallError") as caught:
            pool.step(GOOD[:2])
        assert isinstance(caught.value.__cause__, PendingCallError)
        with pytest.raises(NothingPendingError):
            pool.recv()
        pool.reset()
    assert pool.step(GOOD[:1], [1])[0].tolist() == [[1, 1, 0]]


def start(pool: Any) -> None:
    pool.async_reset()
    received(pool)


def received(pool: Any) -> Any:
    """The next batch, however slow this machine is."""
    while True:
        try:
            return pool.recv()
        except PoolTimeout:
            continue


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_timeout_loses_what_was_in_flight(make: Any, backend: str) -> None:
    pool = make(Gated, num_envs=3, backend=backend, num_threads=3, timeout=0.05)
    start(pool)
    Gated.shut(1)
    pool.send(np.zeros(3, int))
    Gated.await_entered(1)
    until(lambda: pool.stats()["steps"] == [1, 0, 1])
    for _ in range(2):
        message = r"no batch within 0\.05 s; still running: env 1 for [0-9.]+ s; waiting for a worker: 0"
        with pytest.raises(PoolTimeout, match=message) as caught:
            pool.recv()
    assert isinstance(caught.value, TimeoutError | PoolError)
    assert pool.stats()["in_flight"] == 3
    Gated.open(1)
    assert received(pool)[0].tolist() == [[0, 1], [1, 1], [2, 1]]
    assert pool.step(np.zeros(3, int))[0].tolist() == [[0, 2], [1, 2], [2, 2]]


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_timeout_of_step_loses_what_was_sent(make: Any, backend: str) -> None:
    pool = make(Gated, num_envs=2, backend=backend, num_threads=1, timeout=0.05)
    start(pool)
    Gated.shut(0)
    with pytest.raises(PoolTimeout):
        pool.step(np.zeros(2, int))
    Gated.await_entered(0)
    with pytest.raises(PoolTimeout, match=r"still running: env 0 for .*waiting for a worker: 1"):
        pool.recv()
    with pytest.raises(PendingCallError):
        pool.step(np.zeros(2, int))
    Gated.open(0)
    assert received(pool)[0].tolist() == [[0, 1], [1, 1]]


def test_a_timeout_of_an_inline_pool_loses_the_envs_not_yet_stepped(make: Any) -> None:
    import time

    pool = make(Counting, num_envs=2, backend="inline", timeout=1e-9)

    def slow(action: Any) -> None:
        start = time.monotonic_ns()
        while time.monotonic_ns() == start:
            pass

    pool.send(GOOD[:2])
    received(pool)
    pool.set_attr("_step_envpool", slow, env_id=0)
    with pytest.raises(PoolTimeout, match="waiting for a worker: 1"):
        pool.step(GOOD[:2])
    assert received(pool)[4]["env_id"].tolist() == [0, 1]
    assert pool.stats()["steps"] == [1, 1]
