"""dm_env's convention: batches of `TimeStep`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import dm_env
import numpy as np

from envpool_protocol.errors import ConfigError
from envpool_protocol.sources import Description, Source
from envpool_wrap.config import PoolConfig
from envpool_wrap.episode_stats import no_episodes
from envpool_wrap.faces.time_step import Episode, Players, state_type
from envpool_wrap.pool import Pool


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
        # What nobody sees is dropped where the envs are.
        super().__init__(source, description, module, replace(config, infos="none"))
        self._state = state_type(config)

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
        return self.spec.observation_spec()

    def action_spec(self) -> Any:
        """Specs of one env's action, nested as the space is."""
        return self.spec.action_spec()

    def reward_spec(self) -> Any:
        """Spec of one env's reward."""
        return dm_env.specs.Array((), self._description.spec.reward.numpy, "reward")

    def discount_spec(self) -> Any:
        """Spec of one env's discount."""
        return dm_env.specs.BoundedArray((), np.float32, 0.0, 1.0, "discount")
