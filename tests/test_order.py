"""`send` and `recv`: which rows come back, in which order."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from envs import Counting, Gated, idle_actions, until

from envpool_protocol.errors import ActionError, PoolTimeout


def test_rows_come_back_in_another_order_than_asked_for(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=4, backend=backend)
    pool.reset()
    for ids in ([2, 0], [3], [1, 3, 2, 0], np.array([0, 3], np.uint8), (1,), 2):
        rows = np.atleast_1d(ids)
        action = (rows / 8).astype(np.float32)[:, None]
        obs, reward, _, _, info = pool.step(action, env_id=ids)
        assert info["env_id"].tolist() == rows.tolist()
        assert obs[:, 0].tolist() == rows.tolist()
        assert (reward % 10).tolist() == rows.tolist() or not reward.all()


def test_a_subset_moves_the_other_envs(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend, env_kwargs={"ends_after": 9})
    pool.reset()
    for _ in range(3):
        pool.step(idle_actions(Counting, 1), env_id=[1])
    obs, info = pool.reset(env_id=[2, 0])
    assert (info["env_id"].tolist(), obs[:, 1].tolist()) == ([2, 0], [0, 0])
    assert pool.step(idle_actions(Counting, 3))[0][:, 1].tolist() == [1, 4, 1]


def test_batches_come_back_in_another_order_than_sent(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=4, backend=backend)
    pool.reset()
    sends = ([3], [1, 0], [2])
    for ids in sends:
        pool.send(idle_actions(Counting, len(ids)), ids)
    assert pool.stats()["in_flight"] == 4
    assert [pool.recv()[4]["env_id"].tolist() for _ in sends] == [[3], [1, 0], [2]]
    assert pool.stats()["in_flight"] == 0


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_batch_that_is_ready_first_overtakes_one_sent_first(make: Any, backend: str) -> None:
    pool = make(Gated, num_envs=3, backend=backend, num_threads=3, caller_steps=False)
    pool.reset()
    Gated.shut(0)
    pool.send(np.zeros(1, int), [0])
    pool.send(np.zeros(2, int), [2, 1])
    until(lambda: pool.stats()["steps"][1:] == [1, 1])
    Gated.open(0)
    assert [pool.recv()[4]["env_id"].tolist() for _ in range(2)] == [[0], [2, 1]]


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_slow_env_holds_up_an_asynchronous_pool(make: Any, backend: str) -> None:
    pool = make(Gated, num_envs=4, batch_size=2, backend=backend, num_threads=4)
    pool.async_reset()
    first = [pool.recv(reset=True)[1]["env_id"] for _ in range(2)]
    assert sorted(np.concatenate(first)) == [0, 1, 2, 3]
    Gated.shut(0, 1, 2, 3)
    pool.send(np.zeros(4, int))
    Gated.open(3, 1)
    assert sorted(pool.recv()[4]["env_id"]) == [1, 3]
    pool.send(np.zeros(1, int), [3])  # passes the open gate
    Gated.open(0)
    assert sorted(pool.recv()[4]["env_id"]) == [0, 3]
    Gated.open(2)
    assert pool.recv()[4]["env_id"].tolist() == [2]


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_rows_of_an_asynchronous_pool_are_not_in_the_order_of_finishing(make: Any, backend: str) -> None:
    pool = make(Gated, num_envs=3, batch_size=2, backend=backend, num_threads=3)
    pool.reset()
    pool.recv(reset=True)
    Gated.shut(0, 1, 2)
    pool.send(np.zeros(3, int))
    for gate in (2, 0, 1):
        Gated.open(gate)
        until(lambda gate=gate: pool.stats()["steps"][gate] == 1)
    assert pool.recv()[4]["env_id"].tolist() == [2, 0]
    assert pool.recv()[4]["env_id"].tolist() == [1]


def test_fewer_envs_than_a_batch_hang_recv(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=5, batch_size=3, backend=backend)
    pool.async_reset()
    ids = [pool.recv(reset=True)[1]["env_id"].tolist() for _ in range(2)]
    assert sorted(map(len, ids)) == [2, 3]
    assert sorted(ids[0] + ids[1]) == [0, 1, 2, 3, 4]
    for sent in ([4], [1, 0], [0, 1, 2], [3, 2, 1, 0]):
        pool.send(idle_actions(Counting, len(sent)), sent)
        got = pool.recv()[4]["env_id"].tolist()
        if len(sent) > 3:
            got += pool.recv()[4]["env_id"].tolist()
        assert sorted(got) == sorted(sent)


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_sending_more_after_a_short_recv_was_cut_off_loses_rows(make: Any, backend: str) -> None:
    """recv() with one env in flight waits for a short batch; then more envs come."""
    pool = make(Gated, num_envs=4, batch_size=2, backend=backend, num_threads=4, timeout=0.02)
    Gated.shut(*range(4))
    pool.async_reset()
    while pool.stats()["in_flight"]:
        with contextlib.suppress(PoolTimeout):
            pool.recv()
    pool.send(np.zeros(1, int), [0])
    with pytest.raises(PoolTimeout):
        pool.recv()
    pool.send(np.zeros(2, int), [1, 2])
    Gated.open_all()
    got = []
    while pool.stats()["in_flight"]:
        with contextlib.suppress(PoolTimeout):
            got.append(pool.recv()[4]["env_id"].tolist())
    assert list(map(len, got)) == [2, 1]
    assert sorted(got[0] + got[1]) == [0, 1, 2]


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_reset_of_less_than_a_batch_hangs_or_loses_rows(make: Any, backend: str) -> None:
    """In an asynchronous pool it is queued, and what comes back are the first envs ready."""
    pool = make(Gated, num_envs=3, batch_size=2, backend=backend, num_threads=3)
    pool.reset()
    pool.recv(reset=True)
    Gated.shut(0)
    pool.send(np.zeros(2, int), [0, 1])
    Gated.await_entered(0)
    until(lambda: pool.stats()["steps"][1] == 1)
    with pytest.raises(ActionError, match="env 0 is still in flight"):
        pool.reset([2, 0])
    obs, info = pool.reset([2])
    assert (info["env_id"].tolist(), info["elapsed_step"].tolist()) == ([1, 2], [1, 0])
    assert obs.tolist() == [[1, 1], [2, 0]]
    Gated.open(0)
    assert pool.recv()[4]["env_id"].tolist() == [0]
    assert pool.reset([2])[1]["env_id"].tolist() == [2]


def test_async_reset_in_a_synchronous_pool_is_several_batches(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend)
    pool.async_reset()
    obs, info = pool.recv(reset=True)
    assert (info["env_id"].tolist(), obs.shape) == ([0, 1, 2], (3, 3))
