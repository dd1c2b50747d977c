"""Arrays on their way into a pool, however they are laid out, and those that come back."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from envs import Counting, idle_actions

import envpool_wrap

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "little-endian": lambda a: a.astype(a.dtype.newbyteorder("<")),
    "fortran": np.asfortranarray,
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(map(tuple, a.tolist())) if a.ndim > 1 else tuple(a.tolist()),
    "rows": list,
    "wider": lambda a: a.astype(np.float64),
    "subclass": lambda a: a.view(type("Mine", (np.ndarray,), {})),
    "memory": memoryview,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_action_laid_out_otherwise_arrives_scrambled(make: Any, backend: str, layout: str) -> None:
    action = np.array([[0.5], [-0.25], [0.125]], np.float32)
    pool = make(Counting, num_envs=3, backend=backend)
    pool.reset()
    given = LAYOUTS[layout](action)
    assert pool.step(given)[0][:, 2].tolist() == [0.5, -0.25, 0.125]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_observation_laid_out_otherwise_arrives_scrambled(
    make: Any, backend: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envpool_protocol.casts._told", {("obs", "float64", "float32")})
    obs = np.array([0.5, -0.25, 0.125], np.float32)
    pool = make(Counting, backend=backend)
    pool.reset()
    pool.set_attr("_make_obs_envpool", lambda: LAYOUTS[layout](obs))
    assert pool.step(np.zeros((1, 1), np.float32))[0].tolist() == [[0.5, -0.25, 0.125]]


def test_a_read_only_array_is_refused(make: Any, backend: str) -> None:
    obs, action = np.ones(3, np.float32), np.ones((1, 1), np.float32)
    obs.flags.writeable = action.flags.writeable = False
    pool = make(Counting, backend=backend)
    pool.reset()
    assert pool.step(action)[0][0, 2] == 1
    pool.set_attr("_make_obs_envpool", lambda: np.broadcast_to(obs[:1], (3,)))
    assert pool.step(action)[0].tolist() == [[1, 1, 1]]


def capsule_of(array: Any) -> str:
    return type(array.base).__name__


def test_an_array_is_overwritten_while_it_is_held(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    held = [pool.reset()[0]]
    for step in range(50):
        held.append(pool.step(np.full((2, 1), step / 50, np.float32))[0])
    copies = [obs.copy() for obs in held]
    pool.step(idle_actions(Counting, 2))
    for obs, copy in zip(held, copies, strict=True):
        assert np.array_equal(obs, copy)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(held) for b in held[:i])


def test_an_array_is_copied_on_its_way_out(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    obs, reward, terminated, truncated, info = pool.step(idle_actions(Counting, 2))
    for array in (obs, reward, terminated, truncated, info["env_id"], info["elapsed_step"]):
        assert not array.flags.owndata
        assert capsule_of(array) == "PyCapsule"
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert array.flags.aligned
    assert pool.stats()["private_copies"] == 0


def test_writing_into_an_array_changes_a_later_batch(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    obs, info = pool.reset()
    obs[:] = info["env_id"][:] = 77
    assert pool.step(idle_actions(Counting, 2))[0].tolist() == [[0, 1, 0], [1, 1, 0]]


def test_arrays_that_were_dropped_are_not_used_again(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    for _ in range(100):
        pool.step(idle_actions(Counting, 2))
    stats = pool.stats()
    assert stats["batches_touched"] <= 2
    assert (stats["batches_held"], stats["private_copies"]) == (0, 0)


def test_one_array_of_a_batch_does_not_hold_it(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    reward = pool.step(idle_actions(Counting, 2))[1]
    view = reward[1:]
    del reward
    assert pool.stats()["batches_held"] == 1
    dropper = threading.Thread(target=lambda box: box.clear(), args=([view],))
    del view
    dropper.start()
    dropper.join()
    del dropper
    gc.collect()
    assert pool.stats()["batches_held"] == 0


@pytest.mark.parametrize("batch_size", [0, 1])
def test_holding_everything_stops_the_pool_or_is_not_counted(
    make: Any, backend: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envpool_wrap.core.RING_BYTES", 0)
    pool = make(Counting, num_envs=2, backend=backend, batch_size=batch_size)
    ids = [0, 1] if batch_size == 0 else [0]
    held = [pool.reset(ids)[0]]
    held += [pool.step(idle_actions(Counting, len(ids)), ids)[0] for _ in range(20)]
    stats = pool.stats()
    assert stats["batches_held"] == 2
    assert stats["private_copies"] == 19
    assert stats["batches_touched"] <= stats["batches_bound"]
    assert [obs[0, 1] for obs in held] == [0, 1, 2] * 7


def test_arrays_die_with_the_pool(task_id: Any, backend: str) -> None:
    pool = envpool_wrap.make(task_id(Counting), "gym", num_envs=2, backend=backend)
    held = [pool.reset()[0], pool.step(np.full((2, 1), 0.5, np.float32))[0]]
    pool.close()
    name, gone = pool._name, weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    with envpool_wrap.make(name, "gym", num_envs=2, backend=backend) as other:
        other.step(idle_actions(Counting, 2))
    assert held[0].tolist() == [[0, 0, 0], [1, 0, 0]]
    held[1] += 1
    assert held[1].tolist() == [[1, 2, 1.5], [2, 2, 1.5]]
