"""Each api on each backend and each kind of module: as the plain env, stepped by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dm_env
import gymnasium
import numpy as np
import pytest
from by_hand import SEED, DMHand, Hand, OldHand, assert_plays, play, sampled
from gymnasium import spaces
from plain_envs import DMEcho, Echo, OldEcho

from envpool_protocol.descriptions import describe_env
from envpool_protocol.errors import ActionError, EnvError, SpecError
from envpool_protocol.spaces import space_from_description

APIS: dict[str, tuple[type, Callable[[int, bool], Hand]]] = {
    "gymnasium": (Echo, lambda seed, cut: Hand(Echo(cut=cut))),
    "gym": (OldEcho, lambda seed, cut: OldHand(OldEcho(cut=cut))),
    "dm_env": (DMEcho, lambda seed, cut: DMHand(DMEcho(cut=cut, random=seed))),
}
NUM_ENVS = 3


def sampled_for(cls: type, steps: int) -> Any:
    space = space_from_description(describe_env(cls(), "x").action_space, "gymnasium")
    return sampled(space, NUM_ENVS, steps)


@pytest.mark.parametrize("cut", [False, True], ids=["terminated", "truncated"])
@pytest.mark.parametrize("api", APIS)
def test_trajectories_are_those_of_the_plain_env(
    api: str, cut: bool, module_kind: str, backend: str, pool_of: Any
) -> None:
    cls, hand = APIS[api]
    actions = sampled_for(cls, 20)
    expected = play([hand(SEED + i, cut) for i in range(NUM_ENVS)], actions)
    flags = [step[2:] for steps in expected for step in steps]
    assert flags.count((not cut, cut)) == 5 * NUM_ENVS, "the envs of this test must end episodes"
    pool = pool_of(cls, module_kind, backend=backend, num_envs=NUM_ENVS, seed=SEED, env_kwargs={"cut": cut})
    assert ("prebuilt module" in repr(pool)) == (module_kind == "prebuilt")
    assert_plays(pool, expected, actions)


def one_action(pool: Any) -> Any:
    """A batch of actions, one per env."""
    batched = gymnasium.vector.utils.batch_space(pool.spec.gymnasium_action_space, len(pool))
    batched.seed(0)
    return batched.sample()


# Seeds, options and infos


def test_gymnasium_env_is_seeded_once_and_gets_options_as_they_are(
    module_kind: str, backend: str, pool_of: Any
) -> None:
    pool = pool_of(Echo, module_kind, backend=backend, num_envs=2, seed=[5, 6])
    info = pool.reset()[1]
    assert info["shown"]["seed"].tolist() == [5, 6] and info["_shown"].tolist() == [True, True]
    assert info["shown"]["options"].tolist() == [None, None]
    info = pool.reset()[1]
    assert info["shown"]["seed"].tolist() == [None, None]
    options = {"level": 3}
    info = pool.reset(seed=9, options=options)[1]
    assert info["shown"]["seed"].tolist() == [9, 10] and options == {"level": 3}
    assert info["shown"]["options"]["level"].tolist() == [3, 3]


def test_info_of_a_step_has_gymnasiums_layout(module_kind: str, pool_of: Any) -> None:
    pool = pool_of(Echo, module_kind, num_envs=2, env_kwargs=[{}, {"ends_after": 1}])
    pool.reset()
    infos = [pool.step(one_action(pool))[-1] for _ in range(3)]
    assert infos[0]["t"].tolist() == [1, 1]
    assert "t" not in infos[1] and infos[1]["_shown"].tolist() == [False, True]  # env 1 was reset
    assert infos[2]["t"].tolist() == [3, 1]


def test_old_env_is_seeded_by_its_own_method(module_kind: str, pool_of: Any) -> None:
    pool = pool_of(OldEcho, module_kind, num_envs=2, seed=4)
    pool.reset()
    pool.reset()
    pool.reset(seed=8)
    assert pool.get_attr("seeds") == [[4, 8], [5, 9]]


@pytest.mark.parametrize("cls", [OldEcho, DMEcho])
def test_options_for_a_reset_that_takes_none_are_refused(cls: type, pool_of: Any) -> None:
    pool = pool_of(cls, num_envs=1)
    with pytest.raises(ActionError, match=r"reset takes no `options`"):
        pool.reset(options={"level": 3})
    pool.reset(options={})


def test_seeds_of_63_bits_reach_dm_envs_generator(pool_of: Any) -> None:
    pool = pool_of(DMEcho, num_envs=2, seed=np.random.SeedSequence(3))
    first = pool.reset()[0]["echo"][0]["arm"][0]
    assert not np.array_equal(first[0], first[1])
    assert np.array_equal(pool.reset(seed=np.random.SeedSequence(3))[0]["echo"][0]["arm"][0], first)


# What old gym's reset may return


class OldTuple:
    """An old env whose observation is itself a pair with a dict last; `with_info` adds an info to it."""

    def __init__(self, with_info: bool = False) -> None:
        box = spaces.Box(-9, 9, (2,), np.float32)
        self.observation_space = spaces.Tuple((box, spaces.Dict(x=spaces.Discrete(3))))
        self.action_space = spaces.Discrete(2)
        self.with_info = with_info

    def obs(self) -> Any:
        return (np.ones(2, np.float32), {"x": 2})

    def reset(self) -> Any:
        return (self.obs(), {"level": 4}) if self.with_info else self.obs()

    def step(self, action: int) -> Any:
        return self.obs(), 1, False, {}


def test_observation_that_looks_like_obs_and_info_is_not_taken_for_them(
    module_kind: str, pool_of: Any
) -> None:
    for with_info in (False, True):
        pool = pool_of(OldTuple, module_kind, num_envs=1, env_kwargs={"with_info": with_info})
        obs, info = pool.reset()
        assert obs[0].tolist() == [[1, 1]] and obs[1]["x"].tolist() == [2]
        assert ("level" in info) == with_info
        assert pool.step(np.zeros(1, np.int64))[0][1]["x"].tolist() == [2]


class OldFive(OldEcho):
    """gym 0.26: five from step, a pair from reset that takes a seed and options."""

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self.t = 0
        if seed is not None:
            self.seed(seed)
        return {"t": 0, "echo": self.action_space.sample()}, {"given": str((seed, options))}

    def step(self, action: Any) -> Any:
        obs, reward, done, info = super().step(action)
        return obs, reward, done, self.cut, info


def test_gym_026_step_and_reset_are_read_as_such(pool_of: Any) -> None:
    pool = pool_of(OldFive, num_envs=1, seed=3, env_kwargs={"ends_after": 1, "cut": True})
    assert pool.reset(options={"a": 1})[1]["given"].tolist() == ["(3, {'a': 1})"]
    assert pool.get_attr("seeds") == [[3]]
    _, _, terminated, truncated, _ = pool.step(one_action(pool))
    assert (terminated.tolist(), truncated.tolist()) == ([True], [True])


class Forwarding(gymnasium.Wrapper[Any, Any, Any, Any]):
    def reset(self, **kwargs: Any) -> Any:
        return self.env.reset(**kwargs)


class OldForwarding:
    def __init__(self, env: Any) -> None:
        self.env, self.observation_space, self.action_space = env, env.observation_space, env.action_space
        self.seed, self.step = env.seed, env.step

    def reset(self, **kwargs: Any) -> Any:
        return self.env.reset(**kwargs)


def forwarded(envid: int) -> Any:
    return Forwarding(Echo())


def old_forwarded(envid: int) -> Any:
    return OldForwarding(OldEcho())


def test_wrapper_that_passes_all_on_takes_what_its_env_takes(pool_of: Any) -> None:
    assert pool_of(forwarded, num_envs=1, seed=3).reset()[1]["shown"]["seed"].tolist() == [3]
    pool = pool_of(old_forwarded, num_envs=1, seed=3)
    pool.reset()
    assert pool.get_attr("env.seeds") == [[3]]


# What a method may not return


GOOD = Echo().reset(seed=1)[0]
END = (0.0, False, False, {})
BAD: list[tuple[type, str, Any, str]] = [
    (Echo, "step", (GOOD, 0.0, False, {}), r"step must return \(obs, reward, .*found a tuple of 4"),
    (Echo, "step", (GOOD, 0.0, False, {}), r"is a gymnasium\.Env \(of other classes, old gym's four values"),
    (Echo, "step", None, r"step must return .*found a NoneType: None"),
    (Echo, "step", [GOOD, *END], r"step must return .*found a list: "),
    (Echo, "step", (GOOD, "1.5", *END[1:]), r"reward: expected one number, found "),
    (Echo, "step", (GOOD, np.zeros(2), *END[1:]), r"reward: expected one number, found shape \(2,\)"),
    (Echo, "step", (GOOD, None, *END[1:]), r"reward: expected one number"),
    (Echo, "step", (GOOD, *END[:3], None), r"the info of step must be a dict, found None"),
    (Echo, "step", ({**GOOD, "t": 0.5}, *END), r"obs\.t: cannot turn dtype float64 into int64"),
    (Echo, "step", ({"t": 0}, *END), r"obs: expected a container with 2 members"),
    (Echo, "step", ({**GOOD, "more": 0}, *END), r"obs: expected a container with 2 members"),
    (Echo, "step", ({"t": 0, "eco": 1}, *END), r"obs: expected .* the member 'echo'"),
    (Echo, "reset", GOOD, r"reset must return \(obs, info\), found a dict: \{"),
    (Echo, "reset", (GOOD, None), r"the info of reset must be a dict"),
    (OldEcho, "step", (GOOD, 0.0, False), r"step must return a tuple of 4 or 5, found a tuple of 3"),
    (OldEcho, "step", (GOOD, 0.0, False, None), r"the info of step must be a dict"),
    (OldEcho, "reset", None, r"obs: expected a container with 2 members, found None"),
    (DMEcho, "step", (1, 2, 3), r"step must return a dm_env.TimeStep, found a tuple of 3"),
    (DMEcho, "reset", {"t": 0}, r"reset must return a dm_env.TimeStep, found a dict: \{"),
]


@pytest.mark.parametrize(("cls", "method", "answer", "message"), BAD)
def test_result_that_the_api_does_not_know_is_an_error_that_names_the_method(
    cls: type, method: str, answer: Any, message: str, module_kind: str, pool_of: Any
) -> None:
    pool = pool_of(cls, module_kind, num_envs=2)
    pool.reset()
    pool.set_attr("answers", {method: answer}, env_id=1)
    with pytest.raises(EnvError, match=message) as caught:
        pool.step(one_action(pool)) if method == "step" else pool.reset()
    error = caught.value
    assert (error.env_id, error.hook) == (1, method) and isinstance(error.__cause__, SpecError)
    pool.set_attr("answers", {})
    pool.reset()


def dm_step(step_type: int, discount: Any) -> Any:
    obs = {"t": 1, "echo": ({"grip": 0, "arm": [np.zeros(2), 0.0]},)}
    return dm_env.TimeStep(dm_env.StepType(step_type), 1.0, discount, obs)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (dm_step(0, None), "step returned a first TimeStep"),
        (dm_step(2, None), "discount of the last TimeStep is None"),
    ],
)
def test_time_step_that_makes_no_sense_is_an_error(answer: Any, message: str, pool_of: Any) -> None:
    pool = pool_of(DMEcho, num_envs=1)
    pool.reset()
    pool.set_attr("answers", {"step": answer})
    with pytest.raises(EnvError, match=message):
        pool.step(one_action(pool))


@pytest.mark.parametrize(
    ("discount", "flags"), [(0.0, (True, False)), (0.5, (False, True)), (1, (False, True))]
)
def test_discount_of_the_last_time_step_says_how_the_episode_ended(
    discount: Any, flags: tuple[bool, bool], pool_of: Any
) -> None:
    pool = pool_of(DMEcho, num_envs=1)
    pool.reset()
    pool.set_attr("answers", {"step": dm_step(2, discount)})
    _, _, terminated, truncated, _ = pool.step(one_action(pool))
    assert (terminated[0], truncated[0]) == flags


def test_reward_of_none_is_zero_in_dm_env(pool_of: Any) -> None:
    pool = pool_of(DMEcho, num_envs=1)
    pool.reset()
    pool.set_attr("answers", {"step": dm_step(1, 1.0)._replace(reward=None)})
    assert pool.step(one_action(pool))[1].tolist() == [0.0]


@pytest.mark.parametrize("method", ["reset", "step", "close"])
def test_exception_of_a_method_names_it(method: str, backend: str, pool_of: Any) -> None:
    pool = pool_of(Echo, num_envs=2, backend=backend)
    pool.reset()
    pool.set_attr("answers", {method: ValueError("no")}, env_id=1)
    with pytest.raises(EnvError, match=f"env 1: {method} raised ValueError: no") as caught:
        {"step": lambda: pool.step(one_action(pool)), "reset": pool.reset, "close": pool.close}[method]()
    assert caught.value.hook == method


def test_envs_are_closed_with_their_pool_and_those_without_close_are_let_go(pool_of: Any) -> None:
    envs = [Echo(), Echo()]
    pool_of(envs, num_envs=2).close()
    assert [env.closed for env in envs] == [1, 1]
    pool_of([OldEcho()], num_envs=1).close()


def test_dm_face_of_a_dm_env_pool_has_its_specs(pool_of: Any) -> None:
    pool = pool_of(DMEcho, env_type="dm", num_envs=2)
    obs, action = pool.observation_spec().obs, pool.action_spec()
    assert obs["echo"][0]["arm"][0] == action["arm"][0].replace(name="obs.echo.0.arm.0")
    assert action["arm"][0].maximum.tolist() == [1, 2] and action["grip"].num_values == 4
    assert type(action["arm"][1]).__name__ == "Array" and action["arm"][1].dtype == np.float32
    assert pool.reward_spec().dtype == np.float64
    assert pool.reset().step_type.tolist() == [0, 0]
