"""dm_env's convention: batches of `TimeStep`."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import dm_env
import numpy as np

from envpool_protocol.errors import ConfigError
from envpool_protocol.sources import Description, Source
from envpool_protocol.spaces import leaf_spaces
from envpool_protocol.spec import Leaf, SpaceSpec
from envpool_wrap.config import PoolConfig
from envpool_wrap.episode_stats import no_episodes
from envpool_wrap.nested import builder
from envpool_wrap.pool import Pool

State = namedtuple("State", ["obs", "env_id", "elapsed_step", "players"])
FinalState = namedtuple("FinalState", ["obs", "env_id", "elapsed_step", "players", "final_obs"])
EpisodeState = namedtuple("EpisodeState", ["obs", "env_id", "elapsed_step", "players", "episode"])
FinalEpisodeState = namedtuple(
    "FinalEpisodeState", ["obs", "env_id", "elapsed_step", "players", "final_obs", "episode"]
)
Players = namedtuple("Players", ["env_id"])
Episode = namedtuple("Episode", ["r", "l", "t"])

# What a pool adds to the State, by its settings: (same-step mode, episode_stats).
_STATES: dict[tuple[bool, bool], Any] = {
    (False, False): State,
    (True, False): FinalState,
    (False, True): EpisodeState,
    (True, True): FinalEpisodeState,
}


class DMPool(Pool):
    """A pool with the dm_env API: `reset()` and `step(action)` return a `TimeStep` of batches.

    `step_type` int32 (0 first, 1 mid, 2 last), `reward`, `discount` float32 (0 where terminated, else 1), and
    `observation`: `.obs` (nested as the space is), `.env_id`, `.elapsed_step`, `.players.env_id`, and in
    same-step mode `.final_obs`, in every row the observation that the step led to. With `episode_stats` also
    `.episode`: `.r`, `.l` and `.t` as in `envpool_wrap.episode_stats`, zero but in the rows that are LAST.
    What envs return as info has no place in a TimeStep.
    """

    _has_info = False
    _leaves = ("step_type", "reward", "discount", "env_id", "elapsed_step")

    def __init__(
        self, source: Source, description: Description, module: ModuleType, config: PoolConfig
    ) -> None:
        if config.infos == "list":
            raise ConfigError(
                "infos='list': a TimeStep has no info that could be a list; leave infos out, or use "
                "env_type='gym' or 'gymnasium'"
            )
        super().__init__(source, description, module, config)
        self._state = _STATES[self._has_finals, config.episode_stats]

    def _pack(self, leaves: Sequence[Any], info: dict[str, Any], reset: bool) -> dm_env.TimeStep:
        step_type, reward, discount, env_id, elapsed_step = leaves[self._rest]
        facts = [self._build_obs(leaves), env_id, elapsed_step, Players(env_id)]
        if self._has_finals:
            facts.append(self._build_obs(self._final_leaves(leaves, self._ended(leaves))))
        if self._episodes is not None:
            facts.append(Episode(**(info.get("episode") or no_episodes(len(env_id)))))
        return dm_env.TimeStep(step_type, reward, discount, self._state(*facts))

    def _ended(self, leaves: Sequence[Any]) -> Any:
        step_type, *_ = leaves[self._rest]
        return step_type == dm_env.StepType.LAST

    def observation_spec(self) -> Any:
        """Specs of one env's observation, as `TimeStep.observation` is nested."""
        obs = array_specs(self._description.spec.obs, self.spec.gymnasium_observation_space)
        env_id = dm_env.specs.Array((), np.int32, "env_id")
        facts = [obs, env_id, dm_env.specs.Array((), np.int32, "elapsed_step"), Players(env_id)]
        if self._has_finals:
            facts.append(obs)
        if self._episodes is not None:
            columns = no_episodes(1)
            facts.append(Episode(*(dm_env.specs.Array((), columns[k].dtype, k) for k in Episode._fields)))
        return self._state(*facts)

    def action_spec(self) -> Any:
        """Specs of one env's action, nested as the space is."""
        return array_specs(self._description.spec.action, self.spec.gymnasium_action_space)

    def reward_spec(self) -> Any:
        """Spec of one env's reward."""
        return dm_env.specs.Array((), self._description.spec.reward.numpy, "reward")

    def discount_spec(self) -> Any:
        """Spec of one env's discount."""
        return dm_env.specs.BoundedArray((), np.float32, 0.0, 1.0, "discount")


def array_specs(space: SpaceSpec, described: Any) -> Any:
    """dm_env's specs of the leaves of a gymnasium space, nested as it is."""
    specs = [_array_spec(*pair) for pair in zip(space.leaves, leaf_spaces(described), strict=True)]
    return builder(space)(specs)


def _array_spec(leaf: Leaf, space: Any) -> Any:
    if leaf.kind == "discrete" and leaf.low == 0 and isinstance(leaf.high, int):
        return dm_env.specs.DiscreteArray(leaf.high + 1, leaf.dtype.numpy, leaf.name)
    if leaf.kind == "text":
        dtype, shape = leaf.element
        return dm_env.specs.Array(shape, dtype, leaf.name)
    if leaf.dtype.numpy.kind == "f" and np.isneginf(space.low).all() and np.isposinf(space.high).all():
        return dm_env.specs.Array(leaf.shape, leaf.dtype.numpy, leaf.name)
    bounds = (space.low, space.high) if leaf.low is None else (leaf.low, leaf.high)
    low, high = (np.reshape(np.asarray(bound), leaf.shape) for bound in bounds)
    return dm_env.specs.BoundedArray(leaf.shape, leaf.dtype.numpy, low, high, leaf.name)
