"""dm_env's convention: batches of `TimeStep`."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np

from envpool_protocol.spec import Leaf
from envpool_wrap.nested import builder
from envpool_wrap.pool import Pool

State = namedtuple("State", ["obs", "env_id", "elapsed_step", "players"])
Players = namedtuple("Players", ["env_id"])


class DMPool(Pool):
    """A pool with the dm_env API: `reset()` and `step(action)` return a `TimeStep` of batches.

    `step_type` int32 (0 first, 1 mid, 2 last), `reward`, `discount` float32 (0 where terminated, else 1), and
    `observation`: `.obs` (nested as the space is), `.env_id`, `.elapsed_step`, `.players.env_id`. Undeclared
    info has no place in a TimeStep.
    """

    _leaves = ("step_type", "reward", "discount", "env_id", "elapsed_step")

    def _pack(self, leaves: Sequence[Any], info: dict[str, Any], reset: bool) -> dm_env.TimeStep:
        step_type, reward, discount, env_id, elapsed_step = leaves[self._num_obs : -1]
        state = State(self._build_obs(leaves), env_id, elapsed_step, Players(env_id))
        return dm_env.TimeStep(step_type, reward, discount, state)

    def observation_spec(self) -> Any:
        """Specs of one env's observation, as `TimeStep.observation` is nested."""
        spec = self._description.spec.obs
        bounds = _bounds(self.spec.gymnasium_observation_space)
        obs = builder(spec)([_array_spec(leaf, *bounds[i]) for i, leaf in enumerate(spec.leaves)])
        env_id = dm_env.specs.Array((), np.int32, "env_id")
        return State(obs, env_id, dm_env.specs.Array((), np.int32, "elapsed_step"), Players(env_id))

    def action_spec(self) -> Any:
        """Specs of one env's action, nested as the space is."""
        spec = self._description.spec.action
        bounds = _bounds(self.spec.gymnasium_action_space)
        return builder(spec)([_array_spec(leaf, *bounds[i]) for i, leaf in enumerate(spec.leaves)])

    def reward_spec(self) -> Any:
        """Spec of one env's reward."""
        return dm_env.specs.Array((), self._description.spec.reward.numpy, "reward")

    def discount_spec(self) -> Any:
        """Spec of one env's discount."""
        return dm_env.specs.BoundedArray((), np.float32, 0.0, 1.0, "discount")


def _bounds(space: Any) -> list[tuple[Any, Any]]:
    """Least and greatest value per leaf, in the order of the leaves; None where the leaf itself says it."""
    if hasattr(space, "spaces"):
        members = space.spaces.values() if hasattr(space.spaces, "values") else space.spaces
        return [bound for member in members for bound in _bounds(member)]
    return [(getattr(space, "low", None), getattr(space, "high", None))]


def _array_spec(leaf: Leaf, low: Any, high: Any) -> Any:
    if leaf.kind == "discrete" and leaf.low == 0 and isinstance(leaf.high, int):
        return dm_env.specs.DiscreteArray(leaf.high + 1, leaf.dtype.numpy, leaf.name)
    if leaf.low is not None:
        low, high = (np.reshape(np.asarray(bound), leaf.shape) for bound in (leaf.low, leaf.high))
    return dm_env.specs.BoundedArray(leaf.shape, leaf.dtype.numpy, low, high, leaf.name)
