"""A batched simulator behind the gymnasium and the dm face; BatchedPool itself is the gym one."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import dm_env
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from envpool_wrap.batched.episodes import compiled
from envpool_wrap.batched.pool import BatchedPool
from envpool_wrap.faces.time_step import FinalState, Players, State, array_specs


class BatchedGymnasiumPool(BatchedPool, VectorEnv):
    """A BatchedPool that is a `gymnasium.vector.VectorEnv` itself: its spaces are batched.

    Gymnasium's own wrappers compute with NumPy, so they want a simulator whose arrays are NumPy's, or
    `array="numpy"` on the CPU.
    """

    def __init__(self, venv: Any, **settings: Any) -> None:
        super().__init__(venv, **settings)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def close(self, **kwargs: Any) -> None:
        """Close the simulator. May be called again."""
        super().close(**kwargs)
        self.closed = True


class BatchedDMPool(BatchedPool):
    """A BatchedPool with the dm_env API: `reset()` and `step(action)` return a `TimeStep` of batches.

    `step_type` int32 (0 first, 1 mid, 2 last), `reward`, `discount` float32 (0 where terminated, else 1), and
    `observation`: `.obs` (nested as the space is), `.env_id`, `.elapsed_step`, `.players.env_id`, and
    `.final_obs` in the steps whose info has it. The rest of the info has no place in a TimeStep.
    """

    _facts: Callable[..., tuple[Any, Any]] | None = None  # step_type and discount, once there are arrays

    def _pack(
        self, obs: Any, reward: Any, terminated: Any, truncated: Any, info: dict[str, Any], reset: bool
    ) -> dm_env.TimeStep:
        if self._facts is None:
            self._facts = compiled(_facts, self._simulator.arrays.xp)
        step_type, discount = self._facts(terminated, truncated, info["elapsed_step"])
        facts = (obs, info["env_id"], info["elapsed_step"], Players(info["env_id"]))
        state = FinalState(*facts, info["final_obs"]) if "final_obs" in info else State(*facts)
        return dm_env.TimeStep(step_type, reward, discount, state)

    def observation_spec(self) -> State:
        """Specs of one env's observation, as `TimeStep.observation` is nested."""
        env_id = dm_env.specs.Array((), np.int32, "env_id")
        elapsed_step = dm_env.specs.Array((), np.int32, "elapsed_step")
        obs = array_specs(self._simulator.observation_spec, self.single_observation_space)
        return State(obs, env_id, elapsed_step, Players(env_id))

    def action_spec(self) -> Any:
        """Specs of one env's action, nested as the space is."""
        return array_specs(self._simulator.action_spec, self.single_action_space)

    def reward_spec(self) -> Any:
        """Spec of one env's reward; the simulator may have another dtype."""
        return dm_env.specs.Array((), np.float32, "reward")

    def discount_spec(self) -> Any:
        """Spec of one env's discount."""
        return dm_env.specs.BoundedArray((), np.float32, 0.0, 1.0, "discount")


def _facts(xp: ModuleType, terminated: Any, truncated: Any, elapsed_step: Any) -> tuple[Any, Any]:
    ended = xp.astype(terminated | truncated, xp.int32)
    step_type = (ended + 1) * (elapsed_step != 0)  # no step of its episode yet: the first
    return step_type, xp.astype(~terminated, xp.float32)
