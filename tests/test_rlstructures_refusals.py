"""What rlstructures' faces refuse: actions, env_info, pools, spaces. Needs torch and tensordict."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from envs import Counting
from gymnasium import spaces
from rlstructures_envs import BESIDE, Counter, Modern, Walk, counters, step

import envpool_wrap
from envpool_protocol.errors import ActionError, ConfigError, EnvError, RegistrationError, SpecError

pytestmark = pytest.mark.integration

torch = pytest.importorskip("torch")
tensordict = pytest.importorskip("tensordict")

from envpool_wrap.integrations.rlstructures import (  # noqa: E402
    DictTensor,
    GymEnv,
    GymEnvInf,
    VecEnv,
)


@pytest.mark.parametrize(
    ("policy_output", "message"),
    [
        ({"action": [0, 0, 0]}, r"action has 3 rows and 4 envs run: \[0, 1, 2, 3\]"),
        ({"action": torch.zeros(5, dtype=torch.int64)}, "action has 5 rows and 4 envs run"),
        ({"action": torch.tensor(0)}, "action has no rows and 4 envs run"),
        ({"act": [0, 0, 0, 0]}, r"policy_output has \['act'\]; expected the key 'action'"),
        (DictTensor(), r"policy_output has \[\]"),
        (torch.zeros(4), "policy_output is tensor"),
        ({"action": [0, 0, 0, 3]}, "3"),
        ({"action": torch.zeros(4)}, "float"),
        ({"action": torch.zeros(4, 2, dtype=torch.int64)}, "shape"),
    ],
)
@pytest.mark.parametrize("kind", [GymEnv, GymEnvInf])
def test_actions_that_do_not_fit_are_refused_and_nothing_is_sent(
    kind: Any, policy_output: Any, message: str
) -> None:
    with kind(counters(), seed=80, backend="inline") as env:
        env.reset()
        with pytest.raises(ActionError, match=message):
            env.step(policy_output)
        (obs, _), _ = step(env, [0, 0, 0, 0])
        assert obs["frame"][:, 0].tolist() == [1, 1, 1, 1]


def test_a_shrunken_batch_wants_as_many_actions_as_envs_that_run() -> None:
    with GymEnv(counters(), seed=80, backend="inline") as env:
        env.reset()
        step(env, [0, 0, 0, 0])
        with pytest.raises(ActionError, match=r"action has 4 rows and 3 envs run: \[0, 2, 3\]"):
            step(env, [0, 0, 0, 0])
        assert step(env, [1, 1, 1])[0][1].tolist() == [0, 2, 3]


def test_what_a_user_does_to_running_does_not_change_who_runs() -> None:
    with GymEnv(counters(), seed=80, backend="inline") as env:
        env.reset()
        running = step(env, [0, 0, 0, 0])[1][1]
        running.fill_(0)
        (obs, was), _ = step(env, [0, 0, 0])
        assert obs["frame"][:, 1].tolist() == [80, 82, 83] and was.tolist() == [0, 2, 3]


@pytest.mark.parametrize("kind", [GymEnv, GymEnvInf])
def test_a_step_before_the_first_reset_is_refused(kind: Any) -> None:
    with kind([Counter(2)], seed=1) as env, pytest.raises(ActionError, match=r"call reset\(\) first"):
        step(env, [0])


@pytest.mark.parametrize(
    ("env_info", "message"),
    [
        ({"length": [1, 2]}, r"env_info\['length'\] has 2 rows; expected one for each of 3 envs"),
        ({"length": torch.tensor([1, 2])}, r"has 2 rows"),
        (DictTensor({"length": [1, 2]}), r"has 2 rows"),
        ({"length": 2}, r"env_info\['length'\] has no list"),
        ({"length": torch.tensor(2)}, "has no list"),
        ({"length": "abc"}, "has no list"),
        ([{"length": 1}] * 3, r"env_info is \[.*; expected a DictTensor or a dict of lists"),
    ],
)
def test_env_info_of_another_size_is_refused(env_info: Any, message: str) -> None:
    with GymEnv(counters([2, 2, 2]), seed=1, backend="inline") as env:
        env.reset()
        with pytest.raises(ActionError, match=message):
            env.reset(env_info)
        assert len(step(env, [0, 0, 0])[0][1]) == 3, "the refused reset changed nothing"
        assert env.reset({})[1].tolist() == [0, 1, 2]


def test_env_info_for_envs_that_take_none_is_refused() -> None:
    with GymEnv([Walk], seed=1) as env, pytest.raises(ActionError, match="nor `env_info`"):
        env.reset({"length": [1]})


def test_env_info_for_an_infinite_pool_that_would_forget_it_is_refused() -> None:
    with envpool_wrap.from_env_fns(counters([1]), "gym", autoreset_mode="same_step") as pool:
        env = GymEnvInf(pool)
        env.reset()
        with pytest.raises(ConfigError, match="keep_options=True"):
            env.reset({"length": [1]})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r"autoreset_mode='next_step': make the pool with 'disabled'$"),
        ({"autoreset_mode": "same_step"}, r"autoreset_mode='same_step': make the pool with 'disabled'$"),
        ({"autoreset_mode": "disabled", "batch_size": 1}, "batch_size=1 of 2 envs"),
        ({"autoreset_mode": "disabled", "infos": "list"}, "infos='list'"),
    ],
)
def test_pools_that_do_not_go_with_it_are_refused_and_stay_open(config: Any, message: str) -> None:
    with envpool_wrap.from_env_fns(counters([1, 1]), "gym", backend="inline", **config) as pool:
        with pytest.raises(ConfigError, match=message):
            GymEnv(pool)
        pool.reset()


def test_other_things_that_are_no_list_of_envs_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"autoreset_mode='next_step'.*'disabled' or 'same_step'"):
        VecEnv(make(Counting, num_envs=1))
    with pytest.raises(ConfigError, match="autoreset_mode='disabled': make the pool with 'same_step'"):
        VecEnv(make(Counting, num_envs=1, autoreset_mode="disabled"), infinite=True)
    with pytest.raises(ConfigError, match=r"seed, num_envs beside .*: give settings to envpool_wrap.make"):
        GymEnv(make(Counting, num_envs=1), seed=3, num_envs=2)
    with pytest.raises(ConfigError, match="expected a list of envs or of functions, a task id, or a pool"):
        GymEnv(make(Counting, "dm", num_envs=1, autoreset_mode="disabled"))
    with pytest.raises(ConfigError, match="expected a list of envs or of functions"):
        GymEnv(Counter(1))
    with pytest.raises(RegistrationError, match="expected a list of functions"):
        GymEnv([])
    with pytest.raises(RegistrationError, match=r"instance 1 of the list is"):
        GymEnv([Counter(1), partial(Counter, 1)])
    with pytest.raises(RegistrationError, match=r"one env is in the list more than once"):
        GymEnv([Counter(1)] * 2)
    with pytest.raises(ConfigError, match="stay in this process"):
        GymEnv([Counter(1), Counter(2)], backend="process")
    with pytest.raises(ConfigError, match=r"unknown setting 'num_env'\. Nearest: 'num_envs'"):
        GymEnv([Counter(1)], num_env=1)


class Showing(Modern):
    """With other spaces."""

    def __init__(self, observation_space: Any, action_space: Any = None) -> None:
        super().__init__(action_space=action_space)
        self.observation_space = observation_space


@pytest.mark.parametrize("key", BESIDE)
def test_a_key_that_has_a_meaning_here_is_refused_and_the_pool_closed(key: str) -> None:
    closed = []

    class Closing(Showing):
        def close(self) -> None:
            closed.append(self)

    env = Closing(spaces.Dict({key: spaces.Discrete(2)}))
    with pytest.raises(SpecError, match=f"obs: '{key}' is the name of something else, too; rename"):
        GymEnv([env])
    assert closed == [env]


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (spaces.Dict({"a": spaces.Dict({"t": spaces.Text(3)})}), None, r"obs\.a\.t: no tensor holds text"),
        (spaces.Box(0, 9, (2,), np.uint32), None, "obs: torch cannot compute with uint32"),
        (
            spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)}), "a/b": spaces.Discrete(2)}),
            None,
            "obs: 'a/b' is the name of something else",
        ),
        (spaces.Discrete(2), spaces.Dict({"a": spaces.Discrete(2)}), "an action is one tensor here"),
    ],
)
def test_spaces_that_no_tensor_holds_are_refused(
    observation_space: Any, action_space: Any, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        GymEnv([Showing(observation_space, action_space)])


class Growing(Walk):
    """Its observations have one number more each time."""

    def reset(self) -> Any:
        self.n = 1
        return np.zeros(self.n)

    def step(self, action: Any) -> Any:
        self.n += 1
        return np.zeros(self.n), 0.0, False, {}


def test_a_shape_that_changes_is_an_error_of_that_env() -> None:
    with GymEnv([Growing()], seed=1) as env:
        env.reset()
        with pytest.raises(EnvError, match=r"expected .*\(1,\).*") as caught:
            step(env, [0])
        assert isinstance(caught.value.__cause__, SpecError)
