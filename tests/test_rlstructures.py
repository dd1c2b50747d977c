"""rlstructures' envs over pools, on every backend. Needs torch and tensordict: `make test-all`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from envs import Counting, Faulty, Gated
from gymnasium import spaces
from rlstructures_envs import BESIDE, Counter, Modern, Walk, counters, step

import envpool_wrap
from envpool_protocol.errors import (
    ActionError,
    ConfigError,
    EnvError,
    PendingCallError,
    PoolClosedError,
    PoolTimeout,
    WorkerDied,
)

pytestmark = pytest.mark.integration

torch = pytest.importorskip("torch")
tensordict = pytest.importorskip("tensordict")

from envpool_wrap.integrations.rlstructures import (  # noqa: E402
    DictTensor,
    GymEnv,
    GymEnvInf,
    GymInfEnv,
    VecEnv,
)


def values(tensors: Any, *keys: str) -> list[Any]:
    return [tensors[key].tolist() for key in keys]


@pytest.fixture
def envs_of(backend: str) -> Iterator[Callable[..., Any]]:
    """`envs_of(GymEnv, functions, **config)` on each backend; from live envs where they can be stepped."""
    made: list[Any] = []

    def make(kind: Any, functions: Any, seed: Any = 80, **config: Any) -> Any:
        envs = functions if backend == "process" else [function() for function in functions]
        made.append(kind(envs, seed=seed, backend=backend, **config))
        return made[-1]

    yield make
    for env in made:
        env.close()


# Transcripts


def test_the_batch_shrinks_as_episodes_end(envs_of: Any) -> None:
    env = envs_of(GymEnv, counters())
    assert env.n_envs() == 4
    obs, running = env.reset()
    assert list(obs.keys()) == ["frame", *BESIDE]
    assert obs["frame"].dtype == torch.float32 and running.dtype == torch.int64
    assert values(obs, "frame") == [[[0, 80], [0, 81], [0, 82], [0, 83]]] and running.tolist() == [0, 1, 2, 3]
    assert values(obs, *BESIDE) == [[0.0] * 4, [False] * 4, [False] * 4, [True] * 4, [0] * 4]
    assert [obs[key].dtype for key in BESIDE] == [torch.float32, *[torch.bool] * 3, torch.int64]

    told = []
    while len(running):
        (obs, was), (obs2, running) = step(env, [b % 3 for b in range(len(running))])
        assert not obs["initial_state"].any() and not obs2["initial_state"].any() and not obs2["done"].any()
        assert obs.n_elems() == len(was) and obs2.n_elems() == len(running) and running.dtype == torch.int64
        told.append((was.tolist(), *values(obs, "reward", "done", "last_action"), running.tolist()))
        told.append(values(obs2, "frame", "last_action", "reward"))
    assert told == [
        ([0, 1, 2, 3], [801, 811, 821, 831], [False, True, False, False], [0, 1, 2, 0], [0, 2, 3]),
        [[[1, 80], [1, 82], [1, 83]], [0, 2, 0], [801, 821, 831]],
        ([0, 2, 3], [802, 822, 832], [False, True, False], [0, 1, 2], [0, 3]),
        [[[2, 80], [2, 83]], [0, 2], [802, 832]],
        ([0, 3], [803, 833], [True, False], [0, 1], [3]),
        [[[3, 83]], [1], [833]],
        ([3], [834], [True], [0], []),
        [[], [], []],
    ]
    assert obs2["frame"].shape == (0, 2) and list(obs2.keys()) == list(obs.keys())
    assert env.pool.get_attr("seeds") == [[80], [81], [82], [83]]
    assert env.pool.get_attr("actions") == [[[0, 0, 0]], [[1]], [[2, 1]], [[0, 2, 1, 0]]]


def test_when_no_env_runs_a_step_has_no_rows_and_a_reset_begins_again(envs_of: Any) -> None:
    env = envs_of(GymEnv, counters([1, 1]))
    env.reset()
    step(env, [0, 0])
    for _ in range(2):
        (obs, was), (obs2, running) = env.step({"action": torch.zeros(0, dtype=torch.int64)})
        assert was.tolist() == running.tolist() == [] and running.dtype == torch.int64
        for tensors in (obs, obs2):
            assert list(tensors.keys()) == ["frame", *BESIDE] and tensors["frame"].shape == (0, 2)
    obs, running = env.reset()
    assert running.tolist() == [0, 1] and obs["initial_state"].all()
    assert env.pool.get_attr("seeds") == [[80], [81]], "a later reset has no seed"


def test_infinite_envs_are_reset_in_the_step_that_ends_an_episode(envs_of: Any) -> None:
    assert GymInfEnv is GymEnvInf
    env = envs_of(GymInfEnv, counters())
    env.reset()
    told = []
    for _ in range(3):
        (obs, was), (obs2, running) = step(env, [0, 1, 2, 1])
        assert was.tolist() == running.tolist() == [0, 1, 2, 3]
        assert not obs["initial_state"].any() and not obs2["done"].any() and not obs2["truncated"].any()
        assert values(obs, "last_action") == [[0, 1, 2, 1]]
        told.append(values(obs, "frame", "reward", "done"))
        told.append(values(obs2, "frame", "reward", "initial_state", "last_action"))
    no, yes = False, True
    assert told == [
        [[[1, 80], [1, 81], [1, 82], [1, 83]], [801, 811, 821, 831], [no, yes, no, no]],
        [[[1, 80], [0, 81], [1, 82], [1, 83]], [801, 0, 821, 831], [no, yes, no, no], [0, 0, 2, 1]],
        [[[2, 80], [1, 81], [2, 82], [2, 83]], [802, 811, 822, 832], [no, yes, yes, no]],
        [[[2, 80], [0, 81], [0, 82], [2, 83]], [802, 0, 0, 832], [no, yes, yes, no], [0, 0, 0, 1]],
        [[[3, 80], [1, 81], [1, 82], [3, 83]], [803, 811, 821, 833], [yes, yes, no, no]],
        [[[0, 80], [0, 81], [1, 82], [3, 83]], [0, 0, 821, 833], [yes, yes, no, no], [0, 0, 2, 1]],
    ]


INFO = {"length": [2, 1, 3], "vec": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}
IN_SOME_FORM = [
    INFO,
    {key: np.array(column) for key, column in INFO.items()},
    {key: torch.tensor(column) for key, column in INFO.items()},
    {"length": tuple(INFO["length"]), "vec": list(np.array(INFO["vec"]))},
    DictTensor(INFO),
    tensordict.TensorDict({key: torch.tensor(column) for key, column in INFO.items()}, [3]),
]


@pytest.mark.parametrize(
    "env_info", IN_SOME_FORM, ids=["list", "array", "tensor", "rows", "DictTensor", "td"]
)
def test_env_info_reaches_each_env(env_info: Any) -> None:
    with GymEnv([Counter(9) for _ in range(3)], seed=80) as env:
        _, running = env.reset(env_info)
        told = [running.tolist()]
        while len(running):
            _, (_, running) = step(env, [0] * len(running))
            told.append(running.tolist())
        assert told == [[0, 1, 2], [0, 2], [2], []]
        given = env.pool.get_attr("given")
        assert given == [
            [{"length": 2, "vec": [1, 2]}],
            [{"length": 1, "vec": [3, 4]}],
            [{"length": 3, "vec": [5, 6]}],
        ]
        assert {type(value) for one in given for value in one[0].values()} == {int, list}
        env.reset()
        assert [one[-1] for one in env.pool.get_attr("given")] == [None] * 3


def test_infinite_envs_get_their_env_info_again(envs_of: Any) -> None:
    env = envs_of(GymEnvInf, counters([9, 9, 9]))
    env.reset(INFO)
    ended = []
    for _ in range(3):
        (obs, _), _ = step(env, [0, 0, 0])
        ended.append(obs["done"].tolist())
    assert ended == [[False, True, False], [True, True, False], [False, True, True]]
    given = env.pool.get_attr("given")
    assert [len(one) for one in given] == [2, 4, 2]
    assert all(info == {"length": 1, "vec": [3, 4]} for info in given[1])
    env.reset({"length": torch.tensor([4, 4, 4])})
    assert env.pool.get_attr("given")[1][-1] == {"length": 4}


def test_options_are_how_other_envs_get_their_env_info() -> None:
    with GymEnv([Modern(), Modern()]) as env:
        env.reset({"level": [3, 4]})
        assert env.pool.get_attr("options") == [[{"level": 3}], [{"level": 4}]]
    with GymEnv([Faulty(0), Faulty(1)]) as env:  # hooks
        env.reset({"level": [3, 4]})
        assert env.pool.get_attr("options") == [{"level": 3}, {"level": 4}]


def test_a_walk_without_an_observation_space(envs_of: Any) -> None:
    env = envs_of(GymEnv, [Walk] * 4)
    obs, running = env.reset()
    assert list(obs.keys())[:2] == ["x", "identifier"]
    for key in ("x", "identifier"):
        assert obs[key].shape == (4, 1) and obs[key].dtype == torch.float32
    first = [0.043831, -0.289162, -0.449549, -0.485915]
    assert obs["x"].squeeze(1).tolist() == pytest.approx(first, abs=1e-6)
    told = [running.tolist()]
    while len(running):
        (obs, _), (_, running) = step(env, [0] * len(running))
        assert torch.equal(obs["reward"], obs["x"].squeeze(1))
        told.append(running.tolist())
    assert told == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1], [0], []]
    assert obs["x"].item() == pytest.approx(-1.156169, abs=1e-6)


# Observations and actions of all kinds


@pytest.mark.parametrize("kind", [GymEnv, GymEnvInf])
def test_every_leaf_has_its_key_and_its_dtype_and_what_was_shown_does_not_change(
    kind: Any, envs_of: Any
) -> None:
    env = envs_of(kind, [partial(Modern, 1), partial(Modern, 3)])
    first, _ = env.reset()
    actions = torch.rand(2, 2, 2)
    (obs, _), (obs2, _) = env.step({"action": actions})
    kept = [first.clone(), obs.clone(), obs2.clone()]
    rows = {"image": (4, 5, 3), "arm/joints": (2, 2), "goal/0": (1,), "goal/1": (1,), "mask": (3,)}
    dtypes = [torch.uint8, torch.float32, torch.int64, torch.float32, torch.int8]
    for tensors in (first, obs, obs2):
        assert {key: tensors[key].shape[1:] for key in rows} == rows
        assert [tensors[key].dtype for key in rows] == dtypes
        assert tensors["last_action"].shape == (tensors.n_elems(), 2, 2)
        assert tensors["last_action"].dtype == torch.float32
    assert torch.equal(obs["arm/joints"], actions) and torch.equal(obs["last_action"], actions)
    assert obs["goal/0"].tolist() == [[1], [1]]
    assert obs2["goal/0"].tolist() == ([[0], [1]] if kind is GymEnvInf else [[1]])
    obs2["image"].fill_(77)
    obs2["reward"].fill_(77)
    actions.fill_(77)
    if kind is GymEnvInf:
        env.step({"action": torch.zeros(2, 2, 2)})
    for before, now in zip(kept[:2], (first, obs), strict=True):
        assert all(torch.equal(before[key], now[key]) for key in now.keys())  # noqa: SIM118


def test_an_episode_that_was_cut_is_truncated_and_done() -> None:
    with GymEnv([Modern(1, cut=True), Modern(1)]) as env:
        env.reset()
        (obs, _), _ = env.step({"action": torch.zeros(2, 2, 2)})
        assert values(obs, "done", "truncated") == [[True, True], [True, False]]
    with GymEnvInf([Modern(9), Modern(9)], max_episode_steps=1) as env:
        env.reset()
        (obs, _), (obs2, _) = env.step({"action": torch.zeros(2, 2, 2)})
        assert values(obs, "done", "truncated") == [[True, True], [True, True]]
        assert values(obs2, "done", "truncated", "initial_state") == [[False] * 2, [False] * 2, [True] * 2]


@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (spaces.MultiDiscrete([2, 3]), torch.tensor([[1, 2], [0, 1]])),
        (spaces.MultiBinary(2), torch.tensor([[1, 0], [0, 1]], dtype=torch.int8)),
        (spaces.Discrete(3, start=5), torch.tensor([5, 7], dtype=torch.int32)),
        (spaces.Box(-1, 1, (1,), np.float32), torch.tensor([[0.5], [1.0]], dtype=torch.float64)),
    ],
    ids=["MultiDiscrete", "MultiBinary", "Discrete", "Box"],
)
@pytest.mark.parametrize("kind", [GymEnv, GymEnvInf])
def test_last_action_has_the_shape_and_dtype_of_the_action_space(kind: Any, space: Any, actions: Any) -> None:
    with kind([Modern(1, action_space=space), Modern(2, action_space=space)]) as env:
        first, _ = env.reset()
        (obs, _), (obs2, _) = env.step({"action": actions})
        assert not first["last_action"].any() and first["last_action"].shape == actions.shape
        assert obs["last_action"].tolist() == actions.tolist()
        assert obs2["last_action"][-1].tolist() == actions[1].tolist()
        dtypes = {tensors["last_action"].dtype for tensors in (first, obs, obs2)}
        assert dtypes == {torch.from_numpy(np.zeros(1, space.dtype)).dtype}


def test_actions_may_need_grad_and_be_in_any_mapping() -> None:
    with GymEnvInf([Modern(), Modern()]) as env:
        env.reset()
        actions = torch.rand(2, 2, 2, requires_grad=True)
        for policy_output in (
            DictTensor({"action": actions}),
            tensordict.TensorDict({"action": actions, "other": torch.zeros(2)}, [2]),
            {"action": actions},
            {"action": actions.detach().numpy()},
        ):
            (obs, _), _ = env.step(policy_output)
            assert torch.equal(obs["last_action"], actions) and not obs["last_action"].requires_grad


def test_results_are_on_the_device_that_was_asked_for() -> None:
    for kind in (GymEnv, GymEnvInf):
        with kind([Counter(1), Counter(2)], seed=0, device="meta") as env:  # has shapes and no values
            shown = [env.reset(), *step(env, [0, 0])]
            if kind is GymEnv:
                step(env, [0])
                shown += step(env, torch.zeros(0, dtype=torch.int64).tolist())
            for obs, running in shown:
                assert obs.device() == running.device == torch.device("meta")
                assert obs["frame"].shape == (len(running), 2)


def test_a_device_that_is_not_there_is_refused_at_once(make: Any) -> None:
    pool = make(Counting, num_envs=1, autoreset_mode="disabled")
    for device in ("cuda:99", "toaster", 1.5):
        with pytest.raises(ConfigError, match=f"device={device!r}: "):
            GymEnv(pool, device=device)
    assert GymEnv(pool, device=torch.device("cpu")).reset()[1].tolist() == [0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", [GymEnv, GymEnvInf])
def test_on_cuda_it_is_as_on_the_cpu(kind: Any) -> None:
    told = []
    for device in ("cpu", "cuda"):
        with kind(counters(), seed=80, device=device, backend="inline") as env:
            obs, running = env.reset()
            told.append([values(obs, *obs.keys())])
            for _ in range(3):
                action = torch.zeros(len(running), dtype=torch.int64, device=device)
                (obs, was), (obs2, running) = env.step(DictTensor({"action": action}))
                assert obs.device().type == obs2.device().type == running.device.type == device
                told[-1].append([values(obs, *obs.keys()), values(obs2, *obs2.keys()), was.tolist()])
    assert told[0] == told[1]


# Pools


@pytest.mark.parametrize("env_type", ["gym", "gymnasium"])
@pytest.mark.parametrize("mode", ["disabled", "same_step"])
def test_a_pool_of_either_face_will_do(env_type: str, mode: str, make: Any, backend: str) -> None:
    pool = make(Counting, env_type, num_envs=3, backend=backend, autoreset_mode=mode)
    env = VecEnv(pool)
    assert env.pool is pool and env.infinite is (mode == "same_step") and env.n_envs() == 3
    assert env.action_space == spaces.Box(-1.0, 1.0, (1,), np.float32)
    assert env.observation_space == spaces.Box(-np.inf, np.inf, (3,), np.float32)
    _, running = env.reset()
    told = []
    for _ in range(4):
        (obs, was), (obs2, running) = env.step({"action": torch.zeros(len(running), 1)})
        told.append((was.tolist(), obs["frame"][:, 1].tolist(), obs2["frame"][:, 1].tolist()))
    if mode == "disabled":  # env i takes 2 + i steps
        assert told == [
            ([0, 1, 2], [1, 1, 1], [1, 1, 1]),
            ([0, 1, 2], [2, 2, 2], [2, 2]),
            ([1, 2], [3, 3], [3]),
            ([2], [4], []),
        ]
    else:
        assert [one[1:] for one in told] == [
            ([1, 1, 1], [1, 1, 1]),
            ([2, 2, 2], [0, 2, 2]),
            ([1, 3, 3], [1, 0, 3]),
            ([2, 1, 4], [0, 1, 0]),
        ]


@pytest.mark.parametrize("mode", ["disabled", "same_step"])
def test_nested_observations_of_the_gymnasium_face(mode: str) -> None:
    fns = [partial(Modern, 1), partial(Modern, 2)]
    with envpool_wrap.from_env_fns(fns, autoreset_mode=mode, backend="inline") as pool:
        env = VecEnv(pool)
        env.reset()
        (obs, _), (obs2, _) = env.step({"action": torch.ones(2, 2, 2)})
        assert (
            obs["goal/0"].tolist() == [[1], [1]]
            and obs["arm/joints"].tolist() == torch.ones(2, 2, 2).tolist()
        )
        assert obs2["goal/0"].tolist() == ([[1]] if mode == "disabled" else [[0], [1]])


def test_a_task_id_will_do(task_id: Any) -> None:
    with GymEnv(task_id(Counting), seed=3, num_envs=2, backend="inline") as env:
        assert env.n_envs() == 2 and env.pool.config["seed"] == 3
        assert env.reset()[0]["frame"].tolist() == [[0, 0, 0], [1, 0, 0]]


def test_without_a_seed_each_pool_has_its_own() -> None:
    seeds = []
    for _ in range(2):
        with GymEnv([Counter(2)]) as env:
            env.reset()
            seeds += env.pool.get_attr("seeds")
    assert seeds[0] != seeds[1] and len(seeds[0]) == 1


def test_n_envs_resets_nothing() -> None:
    env = GymEnv([Counter(2)], seed=1)
    assert env.n_envs() == 1 and env.pool.get_attr("given") == [[]]
    env.close()


def test_closing_closes_the_pool_and_may_be_repeated() -> None:
    env = GymEnv([Counter(2)], seed=1)
    env.close()
    env.close()
    with pytest.raises(PoolClosedError):
        env.reset()


def test_rows_are_the_same_on_every_backend() -> None:
    """Of envs whose episodes end at other times, with a policy that depends on what is seen."""
    told = []
    for backend in ("inline", "thread", "process"):
        for kind in (GymEnv, GymEnvInf):
            with kind([CartPole] * 5, seed=7, backend=backend) as env:
                obs, _ = env.reset()
                for _ in range(60):
                    action = (obs["frame"][:, 2] > 0).long() if kind is GymEnv else obs["frame"][:, 0] > 0
                    (last, was), (obs, _) = env.step({"action": action.long()})
                    told.append((backend, values(last, *last.keys()), values(obs, *obs.keys()), was.tolist()))
    for other in (told[120:240], told[240:]):
        assert [one[1:] for one in other] == [one[1:] for one in told[:120]]


def CartPole() -> Any:
    return gymnasium.make("CartPole-v1", disable_env_checker=True)


# Failures


def test_an_env_that_raises_drops_out_and_the_others_go_on(envs_of: Any) -> None:
    def envs(step_: int) -> Any:
        return [partial(Faulty, 0), partial(Faulty, 1, "_step_envpool", step_), partial(Faulty, 2)]

    env = envs_of(GymEnv, envs(2))
    env.reset()
    step(env, [0, 0, 0])
    with pytest.raises(EnvError, match="env 1 says no") as caught:
        step(env, [0, 0, 0])
    (obs, was), (obs2, running) = caught.value.result
    assert was.tolist() == [0, 1, 2] and running.tolist() == [0, 2]
    assert obs["frame"].tolist() == [[0, 2], [0, 0], [2, 2]] and obs2["frame"].tolist() == [[0, 2], [2, 2]]
    assert obs["truncated"].tolist() == obs["done"].tolist() == [False, True, False]
    (_, was), (obs2, running) = step(env, [0, 0])
    assert was.tolist() == running.tolist() == [0, 2] and obs2["frame"].tolist() == [[0, 3], [2, 3]]
    assert env.reset()[1].tolist() == [0, 1, 2]


def test_an_infinite_env_that_raised_is_reset_by_its_next_step(envs_of: Any) -> None:
    env = envs_of(GymEnvInf, [partial(Faulty, 0), partial(Faulty, 1, "_step_envpool", 2)])
    env.reset()
    step(env, [0, 0])
    with pytest.raises(EnvError) as caught:
        step(env, [0, 0])
    (obs, _), (obs2, running) = caught.value.result
    assert obs["done"].tolist() == [False, True] and running.tolist() == [0, 1]
    assert obs["frame"].tolist() == obs2["frame"].tolist() == [[0, 2], [0, 0]]
    (obs, _), (obs2, _) = step(env, [0, 0])
    assert obs["frame"].tolist() == [[0, 3], [1, 0]] and obs["reward"].tolist() == [1, 0]
    assert obs["initial_state"].tolist() == obs2["initial_state"].tolist() == [False, True]
    assert step(env, [0, 0])[0][0]["frame"].tolist() == [[0, 4], [1, 1]]


def test_a_reset_that_raises_has_its_result_and_has_to_be_repeated(envs_of: Any) -> None:
    env = envs_of(GymEnv, [partial(Faulty, 0), partial(Faulty, 1, "_reset_envpool")])
    with pytest.raises(EnvError, match="_reset_envpool") as caught:
        env.reset()
    obs, running = caught.value.result
    assert running.tolist() == [0, 1] and obs["frame"].tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ActionError, match=r"call reset\(\) first"):
        step(env, [0, 0])


class Mortal(Counter):
    def step(self, action: Any) -> Any:
        if action == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


def test_a_worker_that_dies_is_told_with_its_envs_and_they_are_back_after_a_reset() -> None:
    fns = [partial(Mortal, 9)] * 4
    with GymEnv(fns, seed=80, backend="process", num_threads=2, caller_steps=False) as env:
        env.reset()
        with pytest.raises(WorkerDied) as caught:
            step(env, [0, 0, 0, 2])
        lost = {failure.env_id for failure in caught.value.errors}
        running = caught.value.result[1][1].tolist()
        assert 3 in lost and running == [0, 1], "the row of env 2 may be intact, but its env is gone"
        assert step(env, [0, 0])[1][1].tolist() == [0, 1]
        assert env.reset()[1].tolist() == [0, 1, 2, 3]
        assert step(env, [0, 0, 0, 0])[0][0]["frame"][:, 0].tolist() == [1, 1, 1, 1]


def test_a_timeout_loses_nothing_that_a_reset_does_not_bring_back(make: Any) -> None:
    Gated.shut(0)
    pool = make(
        Gated, num_envs=2, backend="thread", caller_steps=False, timeout=0.2, autoreset_mode="disabled"
    )
    env = GymEnv(pool)
    env.reset()
    with pytest.raises(PoolTimeout):
        step(env, [0, 0])
    Gated.open(0)
    obs, running = env.reset()
    assert running.tolist() == [0, 1] and obs["frame"].tolist() == [[0, 0], [1, 0]]
    assert step(env, [0, 0])[0][0]["frame"].tolist() == [[0, 1], [1, 1]]


class Interrupted(Counter):
    def step(self, action: Any) -> Any:
        if action == 2:
            raise KeyboardInterrupt
        return super().step(action)


@pytest.mark.parametrize("kind", [GymEnv, GymEnvInf])
def test_after_ctrl_c_a_reset_is_the_way_on(kind: Any) -> None:
    with kind([Interrupted(9) for _ in range(3)], seed=80) as env:
        env.reset()
        with pytest.raises(KeyboardInterrupt):
            step(env, [0, 2, 0])
        with pytest.raises(PendingCallError):
            step(env, [0, 0, 0])
        assert env.reset()[1].tolist() == [0, 1, 2]
        assert step(env, [0, 0, 0])[0][0]["frame"].tolist() == [[1, 80], [1, 81], [1, 82]]


# Imports


def test_a_missing_torch_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "try: import envpool_wrap.integrations.rlstructures\n"
        "except ImportError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install --upgrade 'envpool-wrapper[rlstructures]'" in said
