"""What a `TimeStep` of dm_env holds of a pool: the types of its observation, and dm_env's specs of them."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import dm_env
import numpy as np

from envpool_protocol.spaces import leaf_spaces
from envpool_protocol.spec import Leaf, SpaceSpec
from envpool_wrap.episode_stats import no_episodes
from envpool_wrap.nested import builder

State = namedtuple("State", ["obs", "env_id", "elapsed_step", "players"])
FinalState = namedtuple("FinalState", ["obs", "env_id", "elapsed_step", "players", "final_obs"])
EpisodeState = namedtuple("EpisodeState", ["obs", "env_id", "elapsed_step", "players", "episode"])
FinalEpisodeState = namedtuple(
    "FinalEpisodeState", ["obs", "env_id", "elapsed_step", "players", "final_obs", "episode"]
)
Players = namedtuple("Players", ["env_id"])
Episode = namedtuple("Episode", ["r", "l", "t"])

# What is told of each env beside obs, env_id and elapsed_step: (same-step mode, episode_stats).
_STATES: dict[tuple[bool, bool], Any] = {
    (False, False): State,
    (True, False): FinalState,
    (False, True): EpisodeState,
    (True, True): FinalEpisodeState,
}


def state_type(config: Any) -> Any:
    """The type of `TimeStep.observation`, by a pool's settings."""
    return _STATES[config.autoreset_mode == "same_step", config.episode_stats]


def state_specs(space: SpaceSpec, described: Any, config: Any) -> Any:
    """Specs of one env's `TimeStep.observation`. `described`: the observation's gymnasium space."""
    obs = array_specs(space, described)
    env_id = dm_env.specs.Array((), np.int32, "env_id")
    facts = {
        "obs": obs,
        "env_id": env_id,
        "elapsed_step": dm_env.specs.Array((), np.int32, "elapsed_step"),
        "players": Players(env_id),
        "final_obs": obs,
        "episode": Episode(**{k: dm_env.specs.Array((), v.dtype, k) for k, v in no_episodes(1).items()}),
    }
    state = state_type(config)
    return state(*(facts[field] for field in state._fields))


class TextArray(dm_env.specs.Array):  # type: ignore[misc]
    """Strings of at most so many characters. NumPy's dtype of a str that has fewer is another one."""

    def validate(self, value: Any) -> Any:
        value = np.asarray(value)
        if value.dtype.kind == "U" and value.dtype.itemsize <= self.dtype.itemsize:
            value = value.astype(self.dtype)
        return super().validate(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.shape, self.dtype, self.name)


def array_specs(space: SpaceSpec, described: Any) -> Any:
    """dm_env's specs of the leaves of a gymnasium space, nested as it is."""
    specs = [_array_spec(*pair) for pair in zip(space.leaves, leaf_spaces(described), strict=True)]
    return builder(space)(specs)


def _array_spec(leaf: Leaf, space: Any) -> Any:
    if leaf.kind == "discrete" and leaf.low == 0 and isinstance(leaf.high, int):
        return dm_env.specs.DiscreteArray(leaf.high + 1, leaf.dtype.numpy, leaf.name)
    if leaf.kind == "text":
        dtype, shape = leaf.element
        return TextArray(shape, dtype, leaf.name)
    if leaf.dtype.numpy.kind == "f" and np.isneginf(space.low).all() and np.isposinf(space.high).all():
        return dm_env.specs.Array(leaf.shape, leaf.dtype.numpy, leaf.name)
    bounds = (space.low, space.high) if leaf.low is None else (leaf.low, leaf.high)
    low, high = (np.reshape(np.asarray(bound), leaf.shape) for bound in bounds)
    return dm_env.specs.BoundedArray(leaf.shape, leaf.dtype.numpy, low, high, leaf.name)
