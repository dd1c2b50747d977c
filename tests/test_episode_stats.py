"""Episode statistics: Gymnasium's own wrapper is the measure."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import dm_env
import numpy as np
import pytest
from envs import Counting, Faulty
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from envpool_protocol.errors import ConfigError, EnvError
from envpool_wrap.episode_stats import EpisodeStats


def actions(rows: int) -> Any:
    return np.zeros((rows, 1), np.float32)


def returns_of(ends_after: int, envid: int) -> int:
    """Of a Counting env."""
    return sum(10 * t + envid for t in range(1, ends_after + 1))


@pytest.mark.parametrize("autoreset_mode", ["next_step", "same_step"])
def test_statistics_are_not_those_of_gymnasiums_wrapper(make: Any, backend: str, autoreset_mode: str) -> None:
    settings = {"num_envs": 3, "autoreset_mode": autoreset_mode}
    ours = make(Counting, "gymnasium", backend, **settings, episode_stats=True)
    theirs = RecordEpisodeStatistics(make(Counting, "gymnasium", backend, **settings))
    assert set(ours.reset()[1]) == set(theirs.reset()[1])
    ended = 0
    for step in range(30):
        if step == 13:  # in the middle of episodes
            ours.reset()
            theirs.reset()
        told, wanted = (env.step(actions(3))[4] for env in (ours, theirs))
        assert set(told) == set(wanted)
        if "episode" not in wanted:
            continue
        ended += int(wanted["_episode"].sum())
        assert told["_episode"].tolist() == wanted["_episode"].tolist()
        assert told["_episode"].dtype == wanted["_episode"].dtype
        assert told["episode"].keys() == wanted["episode"].keys()
        for key in "rlt":
            assert told["episode"][key].dtype == wanted["episode"][key].dtype
            assert key == "t" or told["episode"][key].tolist() == wanted["episode"][key].tolist()
        seconds = told["episode"]["t"]
        assert ((seconds > 0) == told["_episode"]).all()
        assert (seconds == np.round(seconds, 6)).all()
    assert ended > 20


def test_a_masked_reset_keeps_what_was_counted(make: Any) -> None:
    pool = make(Counting, "gymnasium", num_envs=2, env_kwargs={"ends_after": 3}, episode_stats=True)
    pool.reset()
    pool.step(actions(2))
    pool.reset(options={"reset_mask": np.array([True, False])})
    pool.step(actions(2))
    info = pool.step(actions(2))[4]
    assert info["_episode"].tolist() == [False, True]
    assert info["episode"]["r"].tolist() == [0, returns_of(3, 1)]
    assert info["episode"]["l"].tolist() == [0, 3]
    info = pool.step(actions(2))[4]
    assert info["episode"]["r"].tolist() == [returns_of(3, 0), 0]
    assert info["episode"]["l"].tolist() == [3, 0]


@pytest.mark.parametrize("batch_size", [0, 2])
def test_rows_are_added_up_by_their_place_in_the_batch(make: Any, backend: str, batch_size: int) -> None:
    pool = make(Counting, "gym", backend, num_envs=3, batch_size=batch_size, episode_stats=True)
    seen: dict[int, list[Any]] = defaultdict(list)
    pool.async_reset()
    ids = pool.recv(reset=True)[1]["env_id"]
    deadline, step = time.monotonic() + 60, 0
    while (
        step < 60 or min(len(seen[env]) for env in range(3)) < 2
    ):  # a worker may wait for a core for 60 batches
        assert time.monotonic() < deadline, f"some env never ended two episodes: {dict(seen)}"
        step += 1
        if batch_size == 0:
            ids = np.roll(np.arange(3), step)[: 1 + step % 3]
        pool.send(actions(len(ids)), ids)
        *_, terminated, truncated, info = pool.recv()
        ids = info["env_id"]
        assert ("episode" in info) == (terminated | truncated).any()
        for row in np.flatnonzero(terminated | truncated):
            assert info["_episode"][row]
            seen[ids[row]].append((info["episode"]["r"][row], info["episode"]["l"][row]))
    for env in range(3):
        assert set(seen[env]) == {(returns_of(2 + env, env), 2 + env)}


def test_an_env_that_fails_never_ends_its_episode(make: Any, backend: str) -> None:
    kwargs = [{"fail_in": "_step_envpool", "fail_at": 3}, {}]
    pool = make(Faulty, "gym", backend, num_envs=2, env_kwargs=kwargs, episode_stats=True)
    pool.reset()
    for _ in range(2):
        pool.step(np.zeros(2, int))
    with pytest.raises(EnvError) as caught:
        pool.step(np.zeros(2, int))
    info = caught.value.result[4]
    assert info["_episode"].tolist() == [True, False]
    assert (info["episode"]["r"].tolist(), info["episode"]["l"].tolist()) == ([2, 0], [2, 0])
    pool.set_attr("fail_in", "", env_id=0)
    for _ in range(2):  # a reset and a step of env 0; the last two steps of env 1
        info = pool.step(np.zeros(2, int))[4]
    assert info["_episode"].tolist() == [False, True]
    assert (info["episode"]["r"].tolist(), info["episode"]["l"].tolist()) == ([0, 5], [0, 5])
    for _ in range(4):
        info = pool.step(np.zeros(2, int))[4]
    assert info["_episode"].tolist() == [True, False]
    assert (info["episode"]["r"].tolist(), info["episode"]["l"].tolist()) == ([5, 0], [5, 0])


def test_an_episode_that_begins_in_the_row_where_another_ends_has_its_rewards() -> None:
    stats = EpisodeStats(2)
    ids, steps = np.arange(2, dtype=np.int32), iter([0, 1, 2, 1, 2])

    def row(reward: float, ended: bool) -> Any:
        both = np.array([reward, reward], np.float32)
        at = np.full(2, next(steps), np.int32)
        return stats.add(ids, both, np.array([ended, False]), at)

    assert row(0, False) is None  # a reset
    assert row(1, False) is None
    first = row(2, True)
    assert first is not None
    assert (first["r"].tolist(), first["l"].tolist()) == ([3, 0], [2, 0])
    assert row(10, False) is None
    second = row(20, True)
    assert second is not None
    assert (second["r"].tolist(), second["l"].tolist()) == ([30, 0], [2, 0])


def test_a_row_that_ends_an_episode_without_a_step_is_a_step_of_it() -> None:
    """That of an env whose worker died after its reset."""
    stats = EpisodeStats(1)
    ended = stats.add(np.zeros(1, np.int32), np.zeros(1), np.ones(1, bool), np.zeros(1, np.int32))
    assert ended is not None and ended["l"].tolist() == [0]


def test_returns_are_added_up_in_float32(make: Any) -> None:
    stats, ids = EpisodeStats(1), np.zeros(1, np.int32)
    for step in range(1, 1001):
        told = stats.add(
            ids, np.array([0.1], np.float32), np.array([step == 1000]), np.array([step], np.int32)
        )
    assert told is not None
    total = 0.0
    for _ in range(1000):
        total += float(np.float32(0.1))
    assert told["r"].tolist() == [total]


@pytest.mark.parametrize("infos", ["auto", "list"])
def test_the_envs_own_statistics_are_overwritten(make: Any, infos: str) -> None:
    pool = make(Faulty, num_envs=1, episode_stats=True, infos=infos)
    pool.reset()
    pool.set_attr("_info_envpool", lambda: {"episode": {"r": 1}})
    for _ in range(4):
        pool.step(np.zeros(1, int))
    with pytest.raises(ConfigError, match=r"info has the key 'episode' already; .*episode_stats=False"):
        pool.step(np.zeros(1, int))


@pytest.mark.parametrize("autoreset_mode", ["next_step", "same_step"])
def test_a_time_step_has_other_statistics_than_an_info(make: Any, backend: str, autoreset_mode: str) -> None:
    settings = {"num_envs": 3, "autoreset_mode": autoreset_mode, "episode_stats": True}
    pool, other = (make(Counting, env_type, backend, **settings) for env_type in ("dm", "gym"))
    first = pool.reset().observation.episode
    assert (first.r.tolist(), first.l.tolist(), first.t.tolist()) == ([0] * 3,) * 3
    other.reset()
    ended = 0
    for _ in range(12):
        step, (*_, info) = pool.step(actions(3)), other.step(actions(3))
        last, episode = step.step_type == dm_env.StepType.LAST, step.observation.episode
        told = info.get("episode", {"r": np.zeros(3), "l": np.zeros(3, int)})
        ended += int(last.sum())
        assert last.tolist() == info.get("_episode", np.zeros(3, bool)).tolist()
        assert (episode.t > 0).tolist() == last.tolist()
        for key, own in (("r", episode.r), ("l", episode.l)):
            assert own.dtype == told[key].dtype
            assert own.tolist() == told[key].tolist()
    assert ended > 5
