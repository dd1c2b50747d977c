"""Real envs: thousands of steps in a pool are those of the plain env, bit for bit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
from by_hand import SEED, DMHand, Hand, OldHand, Steps, assert_plays, play, sampled

from envpool_protocol.descriptions import close_env, describe_env
from envpool_protocol.spaces import space_from_description

NUM_ENVS = 2


@dataclass(frozen=True)
class Real:
    """What is registered, and how the plain env of a seed is made."""

    source: Any
    hand: Callable[[int], Hand]
    steps: int = 2_000


def of_gymnasium(env_id: str) -> Real:
    return Real(env_id, lambda seed: Hand(gymnasium.make(env_id)))


CLASSIC_IDS = ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Acrobot-v1")
CLASSIC = {env_id: of_gymnasium(env_id) for env_id in CLASSIC_IDS}


@functools.cache
def by_hand(name: str) -> tuple[list[Steps], Sequence[Sequence[Any]]]:
    """The trajectories and the actions of a real env."""
    real = {**CLASSIC, **HEAVY}[name]
    hands = [real.hand(SEED + i) for i in range(NUM_ENVS)]
    described = describe_env(hands[0].env, "Plain").action_space
    actions = sampled(space_from_description(described, "gymnasium"), NUM_ENVS, real.steps)
    try:
        return play(hands, actions), actions
    finally:
        for hand in hands:
            close_env(hand.env)


def compare(name: str, pool_of: Any, kind: str, backend: str) -> None:
    expected, actions = by_hand(name)
    real = {**CLASSIC, **HEAVY}[name]
    env_name = None if isinstance(real.source, str) else name
    pool = pool_of(real.source, kind, backend=backend, env_name=env_name, num_envs=NUM_ENVS, seed=SEED)
    assert_plays(pool, expected, actions)


@pytest.mark.parametrize("name", CLASSIC)
def test_classic_envs(name: str, module_kind: str, backend: str, pool_of: Any) -> None:
    compare(name, pool_of, module_kind, backend)


def test_these_trajectories_have_ends_of_both_kinds() -> None:
    """Else the comparison would say nothing of flags and resets."""
    steps = [step for name in CLASSIC for env in by_hand(name)[0] for step in env]
    assert sum(step[2] for step in steps) > 100 and sum(step[3] for step in steps) > 10


def test_info_of_reset_and_step_is_the_plain_envs(backend: str, pool_of: Any) -> None:
    pool = pool_of("FrozenLake-v1", backend=backend, num_envs=1, seed=SEED)
    env = gymnasium.make("FrozenLake-v1")
    assert pool.reset()[1]["prob"].tolist() == [env.reset(seed=SEED)[1]["prob"]]
    for action in (0, 1, 2):
        assert pool.step(np.array([action]))[4]["prob"].tolist() == [env.step(action)[4]["prob"]]


# Those of the extra `test`


def pong(envid: int) -> Any:
    import ale_py
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

    gymnasium.register_envs(ale_py)
    env = gymnasium.make("ALE/Pong-v5", frameskip=1)
    return FrameStackObservation(AtariPreprocessing(env, noop_max=30), 4)


def swing_up(envid: int, seed: int = 0) -> Any:
    from dm_control import suite

    return suite.load("cartpole", "swingup", task_kwargs={"random": seed})


def walker(envid: int, seed: int = 0) -> Any:
    from dm_control import suite

    return suite.load("walker", "run", task_kwargs={"random": seed, "time_limit": 5})


def old_mountain_car(envid: int) -> Any:
    """An env of gym 0.26 behind the wrapper that gives it the steps of old."""
    import gym
    from gym.wrappers import StepAPICompatibility

    gym.logger.set_level(gym.logger.DISABLED)
    env = gym.make("MountainCar-v0", disable_env_checker=True).unwrapped
    return Old(StepAPICompatibility(gym.wrappers.TimeLimit(env, 50), output_truncation_bool=False))


class Old:
    """What such an env looked like: `seed`, and an observation alone from reset."""

    def __init__(self, env: Any) -> None:
        self.env, self.observation_space, self.action_space = env, env.observation_space, env.action_space
        self.step, self.next_seed = env.step, None

    def seed(self, seed: int) -> None:
        self.next_seed = seed

    def reset(self) -> Any:
        seed, self.next_seed = self.next_seed, None
        return self.env.reset(seed=seed)[0]


def gym_026(envid: int) -> Any:
    import gym

    return gym.make("MountainCar-v0", disable_env_checker=True)


HEAVY = {
    "HalfCheetah-v5": of_gymnasium("HalfCheetah-v5"),
    "Hopper-v5": of_gymnasium("Hopper-v5"),
    "Pong": Real(pong, lambda seed: Hand(pong(0))),
    "SwingUp": Real(swing_up, lambda seed: DMHand(swing_up(0, seed))),
    "Walker": Real(walker, lambda seed: DMHand(walker(0, seed))),
    "OldMountainCar": Real(old_mountain_car, lambda seed: OldHand(old_mountain_car(0))),
    "MountainCar026": Real(gym_026, lambda seed: Hand(gym_026(0))),
}


@pytest.mark.integration
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", HEAVY)
def test_heavy_envs(name: str, module_kind: str, backend: str, pool_of: Any) -> None:
    compare(name, pool_of, module_kind, backend)


@pytest.mark.integration
def test_heavy_trajectories_have_ends_of_both_kinds() -> None:
    ends = {name: {step[2:] for env in by_hand(name)[0] for step in env} for name in HEAVY}
    assert ends["Hopper-v5"] >= {(True, False)} and ends["HalfCheetah-v5"] >= {(False, True)}
    for name in ("OldMountainCar", "MountainCar026", "SwingUp"):
        assert ends[name] == {(False, False), (False, True)}, name
