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
from envpool_wrap.nested import builder
from envpool_wrap.pool import Pool

State = namedtuple("State", ["obs", "env_id", "elapsed_step", "players"])
FinalState = namedtuple("FinalState", ["obs", "env_id", "elapsed_step", "players", "final_obs"])
Players = namedtuple("Players", ["env_id"])


class DMPool(Pool):
    """A pool with the dm_env API: `reset()` and `step(action)` return a `TimeStep` of batches.

    `step_type` int32 (0 first, 1 mid, 2 last), `reward`, `discount` float32 (0 where terminated, else 1), and
    `observation`: `.obs` (nested as the space is), `.env_id`, `.elapsed_step`, `.players.env_id`, and in
    same-step mode `.final_obs`, in every row the observation that the step led to.
    Undeclared info has no place in a TimeStep.
    """

    _has_info = False
    _leaves = ("step_type", "reward", "discount", "env_id", "elapsed_step")

    def __init__(
        self, source: Source, description: Description, module: ModuleType, config: PoolConfig
    ) -> None:
        for key, value in (("episode_stats", config.episode_stats), ("infos", config.infos)):
            if value in (True, "list"):
                raise ConfigError(
                    f"{key}={value!r}: a TimeStep has no info; use another env_type, or leave it out"
                )
        super().__init__(source, description, module, config)

    def _pack(self, leaves: Sequence[Any], info: dict[str, Any], reset: bool) -> dm_env.TimeStep:
        step_type, reward, discount, env_id, elapsed_step = leaves[self._rest]
        facts = (self._build_obs(leaves), env_id, elapsed_step, Players(env_id))
        if not self._has_finals:
            return dm_env.TimeStep(step_type, reward, discount, State(*facts))
        finals = self._final_leaves(leaves, step_type == dm_env.StepType.LAST)
        state = FinalState(*facts, self._build_obs(finals))
        return dm_env.TimeStep(step_type, reward, discount, state)

    def observation_spec(self) -> Any:
        """Specs of one env's observation, as `TimeStep.observation` is nested."""
        obs = array_specs(self._description.spec.obs, self.spec.gymnasium_observation_space)
        env_id = dm_env.specs.Array((), np.int32, "env_id")
        facts = (obs, env_id, dm_env.specs.Array((), np.int32, "elapsed_step"), Players(env_id))
        return FinalState(*facts, obs) if self._has_finals else State(*facts)

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
