"""The plain env, stepped by hand, as a pool should step it: what its trajectories are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dm_env
import numpy as np

SEED = 7


def leaves(value: Any) -> list[Any]:
    """The leaves of a nested value, in order."""
    if isinstance(value, Mapping):
        return [leaf for child in value.values() for leaf in leaves(child)]
    if isinstance(value, tuple | list):
        return [leaf for child in value for leaf in leaves(child)]
    return [value]


def row(value: Any, index: int) -> Any:
    """Row `index` of a nested batch."""
    if isinstance(value, Mapping):
        return {key: row(child, index) for key, child in value.items()}
    return tuple(row(child, index) for child in value) if isinstance(value, tuple) else value[index]


def batch(values: Sequence[Any]) -> Any:
    """A nested batch out of rows."""
    first = values[0]
    if isinstance(first, Mapping):
        return {key: batch([value[key] for value in values]) for key in first}
    if isinstance(first, tuple):
        return tuple(batch(list(children)) for children in zip(*values, strict=True))
    return np.stack([np.asarray(value) for value in values])


class Hand:
    """One env with five values per step. Subclasses say how its api does it."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def reset(self, seed: int | None) -> Any:
        return self.env.reset(**({} if seed is None else {"seed": seed}))[0]

    def step(self, action: Any) -> tuple[Any, Any, bool, bool]:
        obs, reward, terminated, truncated, _ = self.env.step(action)
        return obs, reward, bool(terminated), bool(truncated)


class OldHand(Hand):
    """Old gym's four."""

    def reset(self, seed: int | None) -> Any:
        if seed is not None:
            self.env.seed(seed)
        return self.env.reset()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool]:
        obs, reward, done, info = self.env.step(action)
        cut = bool(done and info.get("TimeLimit.truncated", False))
        return obs, reward, bool(done) and not cut, cut


class DMHand(Hand):
    """dm_env. The env has its seed from its constructor."""

    def reset(self, seed: int | None) -> Any:
        return self.env.reset().observation

    def step(self, action: Any) -> tuple[Any, Any, bool, bool]:
        step: dm_env.TimeStep = self.env.step(action)
        return (
            step.observation,
            step.reward,
            step.last() and step.discount == 0,
            step.last() and step.discount > 0,
        )


Steps = list[tuple[Any, Any, bool, bool]]


def played(hand: Hand, seed: int, actions: Sequence[Any]) -> Iterator[tuple[Any, Any, bool, bool]]:
    """First the observation of the reset, then one result per action; after an episode's end, a reset."""
    yield hand.reset(seed), 0.0, False, False
    over = False
    for action in actions:
        result = (hand.reset(None), 0.0, False, False) if over else hand.step(action)
        over = result[2] or result[3]
        yield result


def play(hands: Sequence[Hand], actions: Sequence[Sequence[Any]]) -> list[Steps]:
    """One trajectory per env; env i has the seed SEED + i and the actions `actions[i]`."""
    return [list(map(_copied, played(hand, SEED + i, actions[i]))) for i, hand in enumerate(hands)]


def _copied(step: tuple[Any, Any, bool, bool]) -> tuple[Any, Any, bool, bool]:
    """An env may use its buffer again."""
    return [np.array(leaf) for leaf in leaves(step[0])], *step[1:]


def sampled(space: Any, num_envs: int, steps: int) -> list[list[Any]]:
    """Random actions: per env, one per step."""
    space.seed(SEED)
    return [[space.sample() for _ in range(steps)] for _ in range(num_envs)]


def assert_plays(pool: Any, expected: list[Steps], actions: Sequence[Sequence[Any]]) -> None:
    """The pool's trajectories are these: observations bit for bit, flags apart, rewards as float64."""
    obs = pool.reset()[0]
    zeros = np.zeros(len(expected))
    _assert_step(0, (obs, zeros, zeros == 1, zeros == 1), expected)
    for at in range(len(actions[0])):
        result = pool.step(batch([each[at] for each in actions]))
        assert result[1].dtype == np.float64
        _assert_step(at + 1, result, expected)


def _assert_step(at: int, result: Any, expected: list[Steps]) -> None:
    obs, reward, terminated, truncated = result[:4]
    for env, steps in enumerate(expected):
        want_obs, want_reward, want_terminated, want_truncated = steps[at]
        found = leaves(row(obs, env))
        assert len(found) == len(want_obs)
        for one, two in zip(found, want_obs, strict=True):
            assert np.array_equal(one, two), (at, env, one, two)
        assert reward[env] == want_reward, (at, env)
        assert (terminated[env], truncated[env]) == (want_terminated, want_truncated), (at, env)
