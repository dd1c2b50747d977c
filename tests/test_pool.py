"""`send` and `recv`: which rows come back, in which order, with which numbers."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from envs import Counting, Faulty, Gated, WalkEnv, idle_actions, until
from hypothesis import given, settings
from hypothesis import strategies as st

import envpool_wrap
from envpool_protocol.errors import ActionError, ConfigError, PoolTimeout

EVERY_HOOK_OF_A_STEP = ["step", "make_obs", "done", "reward"]


# What an env does, by hand


def test_transcript_epw_1(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    action = np.array([[0.5], [0.25]], np.float32)
    assert "Counting_wrap" in envpool_wrap.list_all_envs()
    obs, info = pool.reset()
    assert obs.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert (obs.dtype, info["env_id"].dtype, info["elapsed_step"].dtype) == (np.float32, np.int32, np.int32)
    assert (info["env_id"].tolist(), info["elapsed_step"].tolist()) == ([0, 1], [0, 0])
    for obs_want, reward_want, terminated_want, elapsed_want in (
        ([[0, 1, 0.5], [1, 1, 0.25]], [10, 11], [False, False], [1, 1]),
        ([[0, 2, 0.5], [1, 2, 0.25]], [20, 21], [True, False], [2, 2]),
        ([[0, 0, 0], [1, 3, 0.25]], [0, 31], [False, True], [0, 3]),
        ([[0, 1, 0.5], [1, 0, 0]], [10, 0], [False, False], [1, 0]),
    ):
        obs, reward, terminated, truncated, info = pool.step(action)
        assert obs.tolist() == obs_want
        assert (reward.dtype, reward.tolist()) == (np.float32, reward_want)
        assert (terminated.dtype, terminated.tolist()) == (np.bool_, terminated_want)
        assert (truncated.dtype, truncated.tolist()) == (np.bool_, [False, False])
        assert info["elapsed_step"].tolist() == elapsed_want
    reset = ["reset", "make_obs"]
    step = EVERY_HOOK_OF_A_STEP
    assert pool.get_attr("called") == [
        [*reset, *step, *step, *reset, *step],
        [*reset, *step, *step, *step, *reset],
    ]
    assert pool.stats()["steps"] == [3, 3]
    assert pool.stats()["episodes"] == [1, 1]


def test_the_first_step_without_a_reset_steps_an_env_that_was_never_reset(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    obs, reward, _, _, info = pool.step(idle_actions(Counting, 2))
    assert obs.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert (reward.tolist(), info["elapsed_step"].tolist()) == ([0, 0], [0, 0])
    assert pool.get_attr("called") == [["reset", "make_obs"]] * 2


def test_a_time_limit_hides_a_real_end_or_is_missed(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend, max_episode_steps=3)  # they end after 2, 3 and 4
    pool.reset()
    flags = []
    for _ in range(4):
        _, _, terminated, truncated, info = pool.step(idle_actions(Counting, 3))
        flags.append((terminated.tolist(), truncated.tolist(), info["elapsed_step"].tolist()))
    assert flags == [
        ([False, False, False], [False, False, False], [1, 1, 1]),
        ([True, False, False], [False, False, False], [2, 2, 2]),
        ([False, True, False], [False, True, True], [0, 3, 3]),
        ([False, False, False], [False, False, False], [1, 0, 0]),
    ]


def test_an_env_that_truncates_itself_goes_on(make: Any, backend: str) -> None:
    pool = make(Faulty, backend=backend)
    pool.reset()
    ends = [pool.step(np.zeros(1, int))[3].item() for _ in range(7)]
    assert ends == [False, False, False, False, True, False, False]
    assert pool.get_attr("t") == [1]


def test_float32_does_not_come_back_bit_for_bit(make: Any, backend: str) -> None:
    class_obs = np.array([0.1, 0.2, 0.3], np.float32)
    pool = make(Counting, backend=backend)
    pool.reset()
    odd = np.array([0x7FC12345, 0x00000001, 0x80000000], np.uint32).view(np.float32)  # NaN, denormal, -0
    for obs in (class_obs, odd):
        pool.set_attr("_make_obs_envpool", lambda obs=obs: obs)
        assert pool.step(np.zeros((1, 1), np.float32))[0].tobytes() == obs.tobytes()


def test_four_floats_of_the_original_fault(make: Any, backend: str) -> None:
    """The original read float32 as double: [.1, .2, .3, .4] became 1.34e-08, 3.43e-06 and what lay behind."""
    pool = make(Counting, num_envs=4, backend=backend)
    pool.reset()
    action = np.array([[0.1], [0.2], [0.3], [0.4]], np.float32)
    assert pool.step(action)[0][:, 2].tobytes() == action.tobytes()


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


@pytest.mark.parametrize("reward", [3, 3.0, np.float64(3), np.int8(3), np.array(3), np.array([[3.0]]), [3]])
def test_a_number_is_no_reward(make: Any, backend: str, reward: Any) -> None:
    pool = make(Counting, backend=backend)
    pool.reset()
    pool.set_attr("_reward_envpool", lambda: reward)
    assert pool.step(np.zeros((1, 1), np.float32))[1].tolist() == [3]


@pytest.mark.parametrize("reward", [True, np.True_])
def test_a_bool_is_no_reward(make: Any, reward: Any) -> None:
    pool = make(Counting)
    pool.reset()
    pool.set_attr("_reward_envpool", lambda: reward)
    assert pool.step(np.zeros((1, 1), np.float32))[1].tolist() == [1]


# The arrays that come back


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


# Order


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


def test_async_reset_in_a_synchronous_pool_is_several_batches(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend)
    pool.async_reset()
    obs, info = pool.recv(reset=True)
    assert (info["env_id"].tolist(), obs.shape) == ([0, 1, 2], (3, 3))


# The same numbers everywhere


def by_hand(cls: Any, env_id: int, seed: int, actions: list[Any], limit: int | None) -> list[Any]:
    """The rows of one env, stepped in a plain loop: a reset and then one row per action."""
    env = cls(env_id)
    env._seed_envpool(seed)
    env._reset_envpool()
    rows = [(env._make_obs_envpool().tolist(), 0.0, False, False, 0)]
    elapsed, over = 0, False
    for action in actions:
        if over:
            env._reset_envpool()
            elapsed, over = 0, False
            rows.append((env._make_obs_envpool().tolist(), 0.0, False, False, 0))
            continue
        elapsed += 1
        env._step_envpool(action)
        obs, terminated = env._make_obs_envpool().tolist(), env._done_envpool()
        truncated = limit is not None and elapsed >= limit
        over = terminated or truncated
        rows.append((obs, float(np.float32(env._reward_envpool())), terminated, truncated, elapsed))
    return rows


def played(pool: Any, plans: list[Any]) -> list[list[Any]]:
    """Rows per env from its reset on; env i gets the actions of `plans[i]` one by one, when idle."""
    rows: list[list[Any]] = [[] for _ in plans]

    def take(obs: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> list[int]:
        ids = info["env_id"].tolist()
        for row, env_id in enumerate(ids):
            facts = (reward[row], terminated[row], truncated[row], info["elapsed_step"][row])
            rows[env_id].append((obs[row].tolist(), *(fact.item() for fact in facts)))
        return ids

    if not pool.stats()["in_flight"]:
        pool.async_reset()
    while pool.stats()["in_flight"]:
        ids = [i for i in take(*pool.recv()) if len(rows[i]) <= len(plans[i])]
        if ids:
            pool.send(np.array([plans[i][len(rows[i]) - 1] for i in ids]), ids)
    return rows


def plans_of(cls: Any, seed: int, num_envs: int) -> list[Any]:
    """Twelve actions for each env."""
    rng = np.random.default_rng(seed)
    return [
        rng.uniform(-1, 1, (12, 1)).astype(np.float32) if cls is Counting else rng.integers(0, 2, 12)
        for _ in range(num_envs)
    ]


@pytest.mark.parametrize("cls", [Counting, WalkEnv])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_where_and_how_an_env_runs_changes_its_trajectory(task_id: Any, cls: Any, data: Any) -> None:
    num_envs = data.draw(st.integers(1, 6), "num_envs")
    backend = data.draw(st.sampled_from(["inline", "thread"]), "backend")
    batch_size = data.draw(st.integers(0, num_envs), "batch_size")
    sync = batch_size in (0, num_envs)
    config = {
        "backend": backend,
        "num_threads": 0 if backend == "inline" else data.draw(st.sampled_from([1, 2, 3, 8]), "threads"),
        "caller_steps": data.draw(st.sampled_from(["auto", True, False] if sync else ["auto", False])),
        "batch_size": batch_size,
        "max_episode_steps": data.draw(st.sampled_from([None, 1, 2, 5]), "limit"),
    }
    seed = data.draw(st.integers(0, 2**31), "seed")
    plans = plans_of(cls, seed, num_envs)
    with envpool_wrap.make(task_id(cls), "gym", num_envs=num_envs, seed=seed, **config) as pool:
        rows = played(pool, plans)
    for env_id, plan in enumerate(plans):
        assert rows[env_id] == by_hand(cls, env_id, seed + env_id, list(plan), config["max_episode_steps"])


@pytest.mark.parametrize("cls", [Counting, WalkEnv])
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [0, 2])
@pytest.mark.parametrize("caller_steps", [True, False])
def test_another_process_changes_a_trajectory(
    make: Any, cls: Any, workers: int, batch_size: int, caller_steps: bool
) -> None:
    if batch_size and caller_steps:
        pytest.skip("the caller steps in synchronous pools only")
    config = {"num_threads": workers, "batch_size": batch_size, "caller_steps": caller_steps}
    pool = make(cls, num_envs=5, backend="process", max_episode_steps=4, **config)

    @given(seed=st.integers(0, 2**31))
    @settings(max_examples=6, deadline=None, database=None)
    def check(seed: int) -> None:
        plans = plans_of(cls, seed, 5)
        pool._send_reset(None, seed, None)
        rows = played(pool, plans)
        for env_id, plan in enumerate(plans):
            assert rows[env_id] == by_hand(cls, env_id, seed + env_id, list(plan), 4)

    check()


# Seeds, options, constructor arguments


def test_the_pools_seeds_are_given_again_or_never(make: Any, backend: str) -> None:
    pool = make(Faulty, num_envs=3, backend=backend, seed=7)
    assert pool.get_attr("seeds") == [[], [], []]
    pool.step(np.zeros(1, int), env_id=[1])
    assert pool.get_attr("seeds") == [[], [8], []]
    pool.reset()
    pool.reset()
    assert pool.get_attr("seeds") == [[7], [8], [9]]


@pytest.mark.parametrize(
    ("seed", "env_id", "seeds"),
    [
        (100, None, [100, 101, 102]),
        (100, [2, 0], [100, None, 102]),
        ([5, 6, 7], None, [5, 6, 7]),
        ([5, 6], [2, 1], [None, 6, 5]),
        (np.array([5, 6, 7]), None, [5, 6, 7]),
        ([5, None, 7], None, [5, None, 7]),
        (np.int64(3), 1, [None, 4, None]),
    ],
)
def test_reset_gives_a_seed_to_the_wrong_env(
    make: Any, backend: str, seed: Any, env_id: Any, seeds: Any
) -> None:
    pool = make(Faulty, num_envs=3, backend=backend, seed=7)
    pool.reset()
    pool.set_attr("seeds", [])  # one list, so each env needs its own
    for env_number in range(3):
        pool.set_attr("seeds", [], env_id=env_number)
    pool.reset(env_id, seed=seed)
    assert pool.get_attr("seeds") == [[] if one is None else [one] for one in seeds]


def test_a_missing_seed_in_the_first_reset_takes_the_pools_away(make: Any, backend: str) -> None:
    pool = make(Faulty, num_envs=2, backend=backend, seed=7)
    pool.reset(seed=[None, 5])
    assert pool.get_attr("seeds") == [[7], [5]]


def test_a_seed_sequence_seeds_by_position_instead_of_env(make: Any) -> None:
    pool = make(Faulty, num_envs=3, seed=np.random.SeedSequence(1))
    pool.reset()
    first = [list(seeds) for seeds in pool.get_attr("seeds")]
    pool.reset([2, 1], seed=np.random.SeedSequence(1))
    assert pool.get_attr("seeds") == [first[0], first[1] * 2, first[2] * 2]
    assert len({seed for [seed, *_] in first}) == 3


def test_the_default_seeding_misses_np_random(make: Any, backend: str) -> None:
    one, two = (make(WalkEnv, num_envs=2, backend=backend, seed=3) for _ in range(2))
    first, _ = one.reset()
    assert np.array_equal(first, two.reset()[0])
    assert first[0] != first[1]
    assert not np.array_equal(one.reset()[0], first)
    assert np.array_equal(one.reset(seed=3)[0], first)


@pytest.mark.parametrize(
    ("seed", "message"),
    [([1, 2], "a list of 2 for 3 envs"), (-5, "seed=-5"), (0.5, "seed=0.5"), (True, "True")],
)
def test_a_bad_seed_resets_envs(make: Any, seed: Any, message: str) -> None:
    pool = make(Faulty, num_envs=3)
    pool.step(np.zeros(3, int))
    pool.step(np.zeros(3, int))
    with pytest.raises(ConfigError, match=message):
        pool.reset(seed=seed)
    assert pool.get_attr("t") == [1, 1, 1]


def test_options_go_to_the_wrong_env_or_stay(make: Any, backend: str) -> None:
    pool = make(Faulty, num_envs=3, backend=backend)
    pool.reset(options={"level": 3})
    assert pool.get_attr("options") == [{"level": 3}] * 3
    pool.reset([2, 0], options=[{"level": 1}, None])
    assert pool.get_attr("options") == [{}, {"level": 3}, {"level": 1}]
    pool.reset()
    assert pool.get_attr("options") == [{}, {}, {}]


def test_the_env_and_the_caller_share_the_options_dict(make: Any) -> None:
    pool = make(Faulty, num_envs=2)
    options = {"level": 3}
    pool.reset(options=options)
    one, two = pool.get_attr("options")
    one["level"] = 4
    assert (options, two) == ({"level": 3}, {"level": 3})


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (Counting, {"a": 1}, "_reset_envpool takes no options"),
        (Faulty, [{"a": 1}], "options is a list of 1 for 2 envs"),
        (Faulty, [{"a": 1}, 3], "options=3: expected a dict"),
    ],
)
def test_options_that_nobody_takes_are_dropped(make: Any, cls: Any, options: Any, message: str) -> None:
    pool = make(cls, num_envs=2)
    with pytest.raises(ActionError, match=message):
        pool.reset(options=options)
    pool.reset(options={})


@pytest.mark.parametrize(
    "given", [{"ends_after": 1}, [{"ends_after": 1}] * 3, lambda env_id: {"ends_after": 1}]
)
def test_constructor_arguments_do_not_arrive(make: Any, backend: str, given: Any) -> None:
    pool = make(Counting, num_envs=3, backend=backend, env_kwargs=given)
    assert pool.get_attr("ends_after") == [1, 1, 1]


def test_constructor_arguments_of_one_env_go_to_another(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend, env_kwargs=lambda env_id: {"ends_after": 10 + env_id})
    assert pool.get_attr("ends_after") == [10, 11, 12]
    assert pool.get_attr("envid") == [0, 1, 2]


def test_render_mode_breaks_an_env_that_takes_none(make: Any) -> None:
    pool = make(Counting, render_mode="rgb_array")
    assert pool.render_mode == "rgb_array"


def test_render_mode_does_not_reach_an_env_that_takes_it(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Counting.__init__

    def with_mode(self: Any, envid: int, render_mode: str = "none") -> None:
        before(self, envid)
        self.render_mode = render_mode

    make(Counting)
    monkeypatch.setattr(Counting, "__init__", with_mode)
    assert make(Counting, render_mode="rgb_array").get_attr("render_mode") == ["rgb_array"]


# The envs themselves


def test_facts_of_a_pool_are_wrong(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, batch_size=2, backend=backend)
    assert (len(pool), pool.is_async, pool.config["batch_size"]) == (3, True, 2)
    assert pool.all_env_ids.tolist() == [0, 1, 2]
    assert pool.all_env_ids.dtype == np.int32
    assert "GymPool(Counting_wrap, num_envs=3, batch_size=2" in repr(pool)
    pool.close()
    assert "closed" in repr(pool)
