"""Pools whose envs are in Ray actors, on both ways to an actor. Needs the extra `ray`: `make test-all`."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from envs import Counting
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from plain_envs import DMEcho, OldEcho
from ray_envs import Camera, Logged, Odd, Secretive, Sleeper, Toy, quietly

import envpool_wrap
from envpool_protocol.errors import (
    ActionError,
    ConfigError,
    EnvError,
    NothingPendingError,
    PendingCallError,
    PoolClosedError,
    PoolError,
    PoolTimeout,
    ProtocolError,
    SpecError,
    WorkerDied,
)

with quietly():
    pytest.importorskip("ray")
    from envpool_wrap.actors import lanes
    from envpool_wrap.integrations.ray import RayDMPool, RayEnvPool, RayGymnasiumPool

FACES: dict[str, Any] = {"gym": RayEnvPool, "gymnasium": RayGymnasiumPool, "dm": RayDMPool}

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_ray")]
ACTIONS = np.arange(6) % 5
W, E = 3, 2


both_lanes = pytest.mark.parametrize("lane", ["fast", "calls"], indirect=True)


@pytest.fixture
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The way to an actor: that within a machine, or that between machines."""
    chosen = getattr(request, "param", "fast")
    if chosen == "calls":
        monkeypatch.setattr(lanes, "lane_to", lambda actor, *rest: lanes.CallLane(actor))
    return str(chosen)


@pytest.fixture
def ray_pool(lane: str) -> Iterator[Callable[..., Any]]:
    """`ray_pool(make_env=Toy, **config)`: three workers of two envs, seeds 0 to 5; closed after the test."""
    pools: list[Any] = []

    def make(
        make_env: Any = Toy, num_workers: int = W, envs_per_worker: int = E, face: str = "gym", **config: Any
    ) -> Any:
        pools.append(FACES[face](make_env, num_workers, envs_per_worker, **{"seed": 0, **config}))
        assert all(isinstance(w.lane, lanes.FastLane) == (lane == "fast") for w in pools[-1]._workers)
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def troubled(what: str, who: int, when: int = 2) -> Callable[[int], Toy]:
    """Only env `who` gets into trouble."""
    return lambda row: Toy(row, what if row == who else "", when)


def pids(pool: Any) -> list[int]:
    return pool.get_attr("pid")[::E]  # type: ignore[no-any-return]


def same(one: Any, other: Any) -> None:
    """Nested results, to the bit."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif one is None or isinstance(one, str):
        assert one == other
    elif isinstance(one, tuple) or one.dtype == object:
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)
    else:
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert np.array_equal(one, other)


@both_lanes
@pytest.mark.parametrize("env", [Toy, Camera])
@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_a_pool_differs_from_one_without_actors(ray_pool: Any, env: Any, mode: str) -> None:
    step_beside_one_without_actors(ray_pool, env, mode, "gym")


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
@pytest.mark.parametrize("face", ["gymnasium", "dm"])
def test_another_face_differs_from_one_without_actors(ray_pool: Any, mode: str, face: str) -> None:
    step_beside_one_without_actors(ray_pool, Camera, mode, face)


def step_beside_one_without_actors(ray_pool: Any, env: Any, mode: str, face: str) -> None:
    pool = ray_pool(env, face=face, autoreset_mode=mode, max_episode_steps=4)
    fns = [partial(env, row) for row in range(W * E)]
    own = envpool_wrap.from_env_fns(
        fns, face, backend="inline", autoreset_mode=mode, seed=0, max_episode_steps=4
    )
    same(pool.reset(), own.reset())
    for step in range(9):
        same(pool.step((ACTIONS + step) % 5), own.step((ACTIONS + step) % 5))
    same(pool.reset([4, 1], seed=[7, 8]), own.reset([4, 1], seed=[7, 8]))
    same(pool.step(ACTIONS[:3], [5, 0, 3]), own.step(ACTIONS[:3], [5, 0, 3]))
    options: Any = [{"level": i} for i in range(W * E)]
    same(pool.reset(options=options), own.reset(options=options))
    assert pool.stats()["steps"] == own.stats()["steps"]
    own.close()


def test_the_gymnasium_face_is_a_vector_env_with_masks(ray_pool: Any) -> None:
    pool = ray_pool(face="gymnasium", autoreset_mode="disabled")
    assert isinstance(pool, VectorEnv) and pool.observation_space.shape == (W * E, 2)
    pool.reset()
    for _ in range(2):
        *_, terminated, _, _ = pool.step(ACTIONS)
    obs, _ = pool.reset(options={"reset_mask": terminated})
    assert obs[:, 1].tolist() == [0, 2, 0, 2, 0, 2]
    assert pool.call("double", 4, env_id=[1, 3]) == (9, 11)
    assert pool.config["backend"] == "ray" and len(pool.actors) == W
    pool.close()
    assert pool.closed


def test_each_env_is_built_once_in_its_own_actor_and_closed(ray_pool: Any, tmp_path: Path) -> None:
    pool = ray_pool(partial(Logged, folder=tmp_path))
    pool.reset()
    made = np.array([line.split() for line in (tmp_path / "made").read_text().splitlines()], int)
    assert sorted(made[:, 0]) == [0, 1, 2, 3, 4, 5]
    assert pool.get_attr("pid") == [pid for _, pid in sorted(made.tolist())]
    assert len(set(pids(pool))) == W
    assert os.getpid() not in pids(pool)
    pool.close()
    assert sorted((tmp_path / "closed").read_text().splitlines()) == sorted(
        (tmp_path / "made").read_text().splitlines()
    )


def test_seeds_repeat(ray_pool: Any) -> None:
    assert ray_pool(seed=100).reset()[0][:, 0].tolist() == [100, 101, 102, 103, 104, 105]


@both_lanes
def test_batches_come_in_the_order_they_were_sent(ray_pool: Any) -> None:
    pool = ray_pool()
    pool.reset()
    pool.send([1, 2], [5, 0])
    pool.send([3], [1])
    pool.send([4, 0, 0], [2, 4, 3])
    received = [pool.recv() for _ in range(3)]
    assert [one[-1]["env_id"].tolist() for one in received] == [[5, 0], [1], [2, 4, 3]]
    assert [one[-1]["a"].tolist() for one in received] == [[1, 2], [3], [4, 0, 0]]
    with pytest.raises(NothingPendingError):
        pool.recv()


def test_results_are_overwritten_by_the_next_step(ray_pool: Any) -> None:
    pool = ray_pool()
    kept, _ = pool.reset()
    before = kept.copy()
    for _ in range(3):
        pool.step(ACTIONS)
    assert np.array_equal(kept, before)
    kept += 1  # and they are writable


@both_lanes
def test_asynchronous_pools_return_the_first_workers_ready(ray_pool: Any) -> None:
    pool = ray_pool(lambda row: Sleeper(row, 3.0 if row < E else 0.0), batch_size=2 * E)
    assert pool.is_async
    pool.async_reset()
    assert set(pool.recv(reset=True)[1]["env_id"].tolist()) <= set(range(6))
    assert len(pool.recv(reset=True)[1]["env_id"]) == 2, "as many as are in flight"
    pool.send(ACTIONS)
    start = time.monotonic()
    obs, *_, info = pool.recv()
    assert time.monotonic() - start < 2.9
    assert sorted(info["env_id"].tolist()) == [2, 3, 4, 5]
    assert obs[:, 0].tolist() == info["env_id"].tolist()
    assert info["a"].tolist() == ACTIONS[info["env_id"]].tolist()
    pool.send(ACTIONS[2:], [2, 3, 4, 5])
    assert sorted(pool.recv()[-1]["env_id"].tolist()) == [2, 3, 4, 5]
    assert pool.recv()[-1]["env_id"].tolist() == [0, 1]


@both_lanes
def test_asynchronous_subsets_lose_rows(ray_pool: Any) -> None:
    pool = ray_pool(batch_size=E)
    pool.async_reset()
    clock = np.full(6, -1)
    for turn in range(60):
        obs, *_, info = pool.recv(reset=turn < W)
        ids = info["env_id"]
        clock[ids] += 1
        assert obs[:, 0].tolist() == ids.tolist()
        assert (clock[ids] % (3 + ids % 2) == obs[:, 1]).all()
        for env in ids:
            pool.send([0], [env])
    assert pool.stats()["in_flight"] == 6


@both_lanes
@pytest.mark.parametrize("batch_size", [0, 2])
def test_an_env_that_raises_is_told_with_row_and_worker(ray_pool: Any, batch_size: int) -> None:
    pool = ray_pool(troubled("raise", 3), batch_size=batch_size)
    pool.reset()
    while pool.stats()["in_flight"]:
        pool.recv(reset=True)
    for _ in range(2):
        with pytest.raises(EnvError, match=r"env 3: step raised ValueError: toy 3 says no") as caught:
            for _ in range(6):
                pool.send(ACTIONS)
                while pool.stats()["in_flight"]:
                    pool.recv()
        assert isinstance(caught.value.__cause__, ValueError)
        assert "worker 1 (envs 2 to 3)" in str(caught.value)
        assert "_get_into_trouble" in str(caught.value)
        (failure,) = caught.value.errors
        assert (failure.env_id, failure.seed, failure.elapsed_step, failure.action) == (3, 3, 1, 3)
        obs, reward, _, truncated, info = caught.value.result
        row = info["env_id"].tolist().index(3)
        assert (obs[row].tolist(), reward[row], truncated[row]) == ([0, 0], 0, True)
        while pool.stats()["in_flight"]:
            pool.recv()


@both_lanes
@pytest.mark.parametrize("what", ["exit", "kill"])
def test_a_dead_actor_is_told_with_row_and_worker_and_replaced(ray_pool: Any, what: str) -> None:
    pool = ray_pool(troubled(what, 3), timeout=30)
    pool.reset()
    pool.step(ACTIONS)
    before = pids(pool)
    if what == "kill":
        os.kill(before[1], signal.SIGKILL)
    with pytest.raises(WorkerDied, match=r"env 2: the actor of worker 1 \(envs 2 to 3\) died") as caught:
        pool.step(ACTIONS)
    assert [(one.env_id, one.hook, one.elapsed_step) for one in caught.value.errors] == [
        (2, "worker", 1),
        (3, "worker", 1),
    ]
    obs, _, _, truncated, info = caught.value.result
    assert obs.tolist() == [[0, 2], [1, 2], [0, 0], [0, 0], [4, 2], [5, 2]]
    assert truncated.tolist() == [False, False, True, True, False, False]
    assert info["elapsed_step"].tolist() == [2, 2, 1, 1, 2, 2]
    assert pool.actors[1] is None
    obs, *_ = pool.step(ACTIONS)
    assert obs.tolist() == [[0, 0], [1, 3], [2, 0], [3, 0], [4, 0], [5, 3]]
    after = pids(pool)
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]


@both_lanes
def test_restart_replaces_a_dead_actor_at_most_so_often(ray_pool: Any) -> None:
    pool = ray_pool(troubled("exit", 0), on_error="restart", max_restarts=2)
    pool.reset()
    for _ in range(2):
        pool.step(ACTIONS)
        _, reward, terminated, truncated, info = pool.step(ACTIONS)
        assert truncated.tolist() == [True, True, False, False, False, False]
        assert not terminated[:2].any()
        assert reward[:2].tolist() == [0, 0]
        assert info["elapsed_step"][:2].tolist() == [1, 1]
        assert pool.step(ACTIONS)[0][:2].tolist() == [[0, 0], [1, 0]], "with the seeds of the pool"
    pool.step(ACTIONS)
    with pytest.raises(WorkerDied):
        pool.step(ACTIONS)
    assert pool.stats()["restarts"] == [2, 2, 0, 0, 0, 0]
    assert pool.reset()[0][:, 1].tolist() == [0] * 6


@both_lanes
def test_envs_that_were_idle_when_their_actor_died_are_told_of_once(ray_pool: Any) -> None:
    pool = ray_pool(troubled("exit", 2))
    pool.reset()
    pool.step(ACTIONS)
    with pytest.raises(WorkerDied) as caught:
        pool.step([0, 0], [0, 2])
    assert [one.env_id for one in caught.value.errors] == [2]
    with pytest.raises(WorkerDied, match="env 3: the actor of worker 1") as caught:
        pool.step([0, 0, 0], [3, 1, 2])
    assert [(one.env_id, one.elapsed_step) for one in caught.value.errors] == [(3, 1)]
    obs, *_, info = caught.value.result
    assert info["env_id"].tolist() == [3, 1, 2]
    assert obs.tolist() == [[0, 0], [1, 2], [2, 0]]
    assert pool.step([0, 0], [3, 2])[0].tolist() == [[3, 0], [2, 1]]


@both_lanes
def test_an_actor_that_dies_before_its_first_question_is_waited_for(
    ray_pool: Any, lane: str, monkeypatch: pytest.MonkeyPatch, local_ray: Any
) -> None:
    pool = ray_pool()
    pool.reset()
    os.kill(pids(pool)[0], signal.SIGKILL)
    with pytest.raises(WorkerDied):
        pool.step(ACTIONS)
    open_lane = lanes.lane_to

    def lane_to_a_dead(actor: Any, *rest: Any) -> Any:
        pid = local_ray.get(actor.__ray_call__.remote(lambda host: os.getpid()))
        opened = open_lane(actor, *rest)
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        return opened

    with monkeypatch.context() as patch:
        patch.setattr(lanes, "lane_to", lane_to_a_dead)
        with pytest.raises(PoolError, match=r"worker 0 \(envs 0 to 1\) could not start: the actor"):
            pool.step(ACTIONS)
    assert pool.step(ACTIONS)[0][:, 1].tolist() == [0, 0, 2, 2, 2, 2]


def test_an_actor_that_dies_while_another_is_replaced_is_waited_for(
    ray_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ray_pool()
    pool.reset()
    pool.step(ACTIONS)
    first, second, _ = pids(pool)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        pool.step(ACTIONS)  # which ends the episode of env 2, and not that of env 3
    open_lane, victims = lanes.lane_to, [second]

    def lane_beside_a_death(*args: Any) -> Any:
        while victims:
            os.kill(victims.pop(), signal.SIGKILL)
            select.select([pool._workers[1].lane], [], [])  # until it can be seen that nobody answers
        return open_lane(*args)

    monkeypatch.setattr(lanes, "lane_to", lane_beside_a_death)
    with pytest.raises(WorkerDied, match="env 3: the actor of worker 1") as caught:
        pool.step(ACTIONS)
    assert [one.env_id for one in caught.value.errors] == [3]
    assert caught.value.result[0].tolist() == [[0, 0], [1, 0], [2, 0], [0, 0], [4, 0], [5, 3]]
    assert pool.step(ACTIONS)[0][:, 1].tolist() == [1, 1, 1, 0, 1, 0]


def test_a_reset_of_a_dead_actors_envs_is_no_error(ray_pool: Any) -> None:
    pool = ray_pool()
    pool.reset()
    pool.step(ACTIONS)
    os.kill(pids(pool)[0], signal.SIGKILL)
    with pytest.raises(WorkerDied):
        pool.step([0], [0])
    obs, _ = pool.reset([1, 0])
    assert obs.tolist() == [[1, 0], [0, 0]]
    assert pool.step(ACTIONS)[0][:, 1].tolist() == [1, 1, 2, 2, 2, 2]


@both_lanes
def test_a_hung_env_is_a_timeout_that_loses_nothing(ray_pool: Any) -> None:
    pool = ray_pool(lambda row: Sleeper(row, 4.0 if row == 2 else 0.0), timeout=0.5)
    pool.reset()
    start = time.monotonic()
    with pytest.raises(PoolTimeout, match=r"no batch within 0\.5 s; still running: worker 1 \(envs 2 to 3\)"):
        pool.step(ACTIONS)
    assert 0.4 < time.monotonic() - start < 3.9
    with pytest.raises(PendingCallError):
        pool.reset()
    with pytest.raises(ActionError, match="env 0 is still in flight"):
        pool.send([0], [0])
    deadline = time.monotonic() + 20
    while True:
        try:
            obs, *_ = pool.recv()
            break
        except PoolTimeout:
            assert time.monotonic() < deadline
    assert obs.tolist() == [[i, 1] for i in range(6)]


@pytest.mark.parametrize("timeout", [float("inf"), 1e15])
def test_a_timeout_may_be_as_long_as_one_likes(ray_pool: Any, timeout: float) -> None:
    pool = ray_pool(num_workers=1, timeout=timeout)
    pool.reset()
    assert pool.step(ACTIONS[:E])[0][:, 1].tolist() == [1] * E


@both_lanes
def test_a_hung_env_does_not_outlive_close(ray_pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool_wrap.core.CLOSE_DEADLINE", 0.5)
    pool = ray_pool(troubled("hang", 2, 1), timeout=0.3)
    victim = pids(pool)[1]
    pool.reset()
    with pytest.raises(PoolTimeout):
        pool.step(ACTIONS)
    pool.close()
    assert gone(victim)
    with pytest.raises(PoolClosedError):
        pool.step(ACTIONS)
    pool.close()


def test_an_actor_of_a_hung_env_can_be_killed(ray_pool: Any, local_ray: Any) -> None:
    pool = ray_pool(troubled("hang", 2, 1), timeout=0.3)
    pool.reset()
    with pytest.raises(PoolTimeout):
        pool.step(ACTIONS)
    local_ray.kill(pool.actors[1])
    with pytest.raises(WorkerDied, match="worker 1"):
        for _ in range(50):
            try:
                pool.recv()
            except PoolTimeout:
                continue
    assert pool.reset()[0][:, 1].tolist() == [0] * 6


def gone(pid: int) -> bool:
    """Whether the process ends within ten seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_methods_and_attributes(ray_pool: Any) -> None:
    pool = ray_pool()
    pool.reset()
    assert pool.call("double", 10) == [20, 21, 22, 23, 24, 25]
    assert pool.call("double", value=1, env_id=[5, 0]) == [7, 2]
    pool.set_attr("z", 9, [2])
    assert pool.get_attr("z") == [0, 0, 9, 0, 0, 0]
    assert pool.render()[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(AttributeError, match="nothing"):
        pool.get_attr("nothing")
    with pytest.raises(TypeError) as caught:
        pool.call("double", "x", env_id=[4])
    assert "in env 4" in caught.value.__notes__
    with pytest.raises(TypeError, match="cannot be sent"):
        pool.set_attr("z", threading.Lock())
    pool.send(ACTIONS)
    with pytest.raises(PendingCallError, match="env 0 is in flight"):
        pool.get_attr("z")
    assert pool.recv()[0].shape == (6, 2)


BAD_ACTIONS: list[tuple[Any, Any, str]] = [
    (np.zeros(5, int), None, r"expected shape \(6,\), dtype int64 \(one row per env\), found shape \(5,\)"),
    ([0, 0, 0, 9, 0, 0], None, "action: 9 for env 3 is out of range; expected 0 to 4"),
    (np.zeros(6), None, "float64"),
    ([0, 0], [0, 6], "env_id 6 is out of range: this pool has envs 0 to 5"),
    ([0, 0], [2, 2], "env_id 2 is there twice"),
    ([], [], "expected at least one env id"),
    ("up", None, "expected"),
]


def test_bad_actions_are_refused_and_nothing_is_sent(ray_pool: Any) -> None:
    pool = ray_pool()
    pool.reset()
    for action, env_id, said in BAD_ACTIONS:
        with pytest.raises(ActionError, match=said):
            pool.step(action, env_id)
    assert pool.step(ACTIONS)[0][:, 1].tolist() == [1] * 6


def test_disabled_autoreset_refuses_envs_that_ended(ray_pool: Any) -> None:
    pool = ray_pool(autoreset_mode="disabled")
    with pytest.raises(ActionError, match=r"env_id 0, 1, 2, 3, 4, 5: no episode is going on"):
        pool.step(ACTIONS)
    pool.reset()
    pool.step(ACTIONS)
    pool.step(ACTIONS)
    with pytest.raises(ActionError, match=r"env_id 0, 2, 4: no episode is going on"):
        pool.step(ACTIONS)
    assert pool.step(ACTIONS[:3], [1, 3, 5])[2].all()


@both_lanes
def test_info_that_cannot_be_sent_is_the_error_of_its_env(ray_pool: Any) -> None:
    pool = ray_pool(Secretive)
    pool.reset()
    with pytest.raises(EnvError, match=r"env 1: info raised TypeError: \['lock'\] = ") as caught:
        pool.step(ACTIONS)
    obs, *_, truncated, _ = caught.value.result
    assert obs.tolist() == [[0, 1], [0, 0], [2, 1], [3, 1], [4, 1], [5, 1]]
    assert truncated.tolist() == [False, True, False, False, False, False]
    assert pool.step(ACTIONS)[0][1].tolist() == [1, 0]


def test_backends_of_the_actors(ray_pool: Any) -> None:
    pool = ray_pool(backend="process", num_threads=2, actor_options={"num_cpus": 0.5})
    assert pool.reset()[0][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert len(set(pool.get_attr("pid"))) == 6
    assert pool.step(ACTIONS)[0][:, 1].tolist() == [1] * 6
    config = pool.config
    assert (config["backend"], config["worker_backend"], config["num_threads"]) == ("ray", "process", 2)
    assert (config["num_workers"], config["envs_per_worker"], config["num_envs"]) == (3, 2, 6)


def make_old(row: int) -> Any:
    return OldEcho(ends_after=2 + row)


def make_dm(row: int) -> Any:
    return DMEcho(ends_after=2 + row)


@both_lanes
@pytest.mark.parametrize("make_env", [Counting, make_old, make_dm], ids=["hooks", "gym", "dm_env"])
def test_envs_of_another_kind_differ_from_those_without_actors(ray_pool: Any, make_env: Any) -> None:
    pool = ray_pool(make_env)
    fns = [partial(make_env, row) for row in range(W * E)]
    with envpool_wrap.from_env_fns(fns, "gym", backend="inline", seed=0) as own:
        actions = batch_space(own.spec.gymnasium_action_space, W * E)
        actions.seed(0)
        same(pool.reset(), own.reset())
        for _ in range(8):
            action = actions.sample()
            same(pool.step(action), own.step(action))


def test_an_id_of_gymnasium(ray_pool: Any) -> None:
    pool = ray_pool("CartPole-v1", num_workers=1, episode_stats=True)
    pool.reset()
    for _ in range(200):
        *_, info = pool.step([0, 0])
        if "episode" in info:
            break
    assert info["episode"]["l"].max() > 5


SCRIPT = """
import os, ray
from envpool_wrap.integrations.ray import RayEnvPool
from ray_envs import Toy
pool = RayEnvPool(Toy, 3, 1, seed=0, name="toys")
other = RayEnvPool(Toy, 1, 1, actor_options={"num_cpus": 0})
print(pool.reset()[0].tolist(), ray.cluster_resources()["CPU"] >= 3)
ray.shutdown()
try:
    pool.step([0, 0, 0])
except Exception as error:
    print(type(error).__name__, "Ray was shut down" in str(error))
try:
    pool.step([0, 0, 0])
except Exception as error:
    print(type(error).__name__, "make a new pool" in str(error))
print(ray.is_initialized())
"""


def test_without_ray_init_and_without_close() -> None:
    """Ray is started where there is none, and not again by what is left when it was shut down."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "RAY_ADDRESS": ""}
    run = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    ended = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr
    told = [line for line in ended.stdout.splitlines() if "raylet" not in line]
    expected = ["[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]] True", "WorkerDied True", "PoolError True", "False"]
    assert told == expected
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("Started a local Ray instance") <= 1


# ---- what cannot be started: one lane is enough ----


def test_a_cluster_that_is_too_small_is_told_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(ConfigError, match=r"9 actor\(s\) of 1 CPU each, .* 1 node\(s\) hold 8"):
        RayEnvPool(Toy, 9, 1)
    with pytest.raises(ConfigError, match=r"1 actor\(s\) of 1 CPU, 1 GPU each, .* hold 0"):
        RayEnvPool(Toy, 1, 1, actor_options={"num_gpus": 1})
    assert time.monotonic() - start < 3


def test_a_cluster_that_is_taken_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool_wrap.actors.cluster.ROOM_DEADLINE", 0.5)
    with RayEnvPool(Toy, 2, 1, actor_options={"num_cpus": 3}) as pool:
        pool.reset()
        with pytest.raises(ConfigError, match=r"1 actor\(s\) of 3 CPU each, and what others leave free"):
            RayEnvPool(Toy, 1, 1, actor_options={"num_cpus": 3})
    monkeypatch.undo()
    RayEnvPool(Toy, 1, 1, actor_options={"num_cpus": 8}).close()


def test_many_small_actors_fit() -> None:
    with RayEnvPool(Toy, 3, 1, actor_options={"num_cpus": 0}, seed=0) as pool:
        assert pool.reset()[0][:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"num_workers": 0}, "num_workers=0: expected an int of at least 1"),
        ({"envs_per_worker": 2.0}, "envs_per_worker=2.0: expected an int"),
        ({"batch_size": 3}, "batch_size=3 with envs_per_worker=2: expected a multiple"),
        ({"batch_size": 8}, "batch_size=8 is more than num_envs=6"),
        ({"num_envs": 6}, "num_envs is num_workers"),
        ({"actor_options": {"max_restarts": 1}}, "on_error='restart' replaces a dead one"),
        ({"actor_options": {"num_cpu": 1}}, "num_cpu"),
        ({"seed": [1, 2]}, "seed is a list of 2 for 6 envs"),
        ({"nun_threads": 1}, "unknown setting"),
        ({"on_error": "ignore"}, "on_error"),
    ],
)
def test_bad_settings(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RayEnvPool(Toy, **{"num_workers": 3, "envs_per_worker": 2, **given})


def test_functions_that_make_no_env() -> None:
    with pytest.raises(ProtocolError, match="expected an env") as caught:
        RayEnvPool(lambda row: 3, 1, 1)
    assert "worker 0 (envs 0 to 0)" in "".join(caught.value.__notes__)
    with pytest.raises(ProtocolError, match="takes no envid"):
        RayEnvPool(lambda: None, 1, 1)
    with pytest.raises(EnvError, match=r"env 3: __init__ raised ValueError: not three"):
        RayEnvPool(_not_three, 2, 2)
    with pytest.raises(EnvError, match=r"env 2: __init__ raised ValueError: not two"):
        RayEnvPool(_not_two, 2, 2)
    with pytest.raises(
        EnvError, match=r"env 3: __init__ raised SpecError: action_space of env 3 is Discrete"
    ):
        RayEnvPool(Odd, 2, 2)
    with pytest.raises(SpecError, match=r"action_space of worker 3 \(envs 3 to 3\) is Discrete"):
        RayEnvPool(Odd, 4, 1)
    with pytest.raises(PoolError, match=r"worker 1 \(envs 1 to 1\) could not start"):
        RayEnvPool(_deadly, 2, 1)


def _not_three(row: int) -> Toy:
    if row == 3:
        raise ValueError("not three")
    return Toy(row)


def _not_two(row: int) -> Toy:
    if row == 2:
        raise ValueError("not two")
    return Toy(row)


def _deadly(row: int) -> Toy:
    if row == 1:
        os._exit(4)
    return Toy(row)
