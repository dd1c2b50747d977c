"""EnvPool's gym convention: five-tuple steps, single-env spaces."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from envpool_wrap.config import PoolConfig
from envpool_wrap.pool import Pool


class TuplePool(Pool):
    """What the gym and the gymnasium face share.

    `(obs, info)` after a reset, `(obs, reward, terminated, truncated, info)` after a step.
    """

    _leaves = ("reward", "terminated", "truncated", "env_id", "elapsed_step")

    def _pack(self, leaves: Sequence[Any], info: dict[str, Any], reset: bool) -> Any:
        reward, terminated, truncated, env_id, elapsed_step = leaves[self._rest]
        if self._has_finals:
            ended = terminated | truncated
            if ended.any():
                info["final_obs"], info["_final_obs"] = self._final_obs(leaves, ended), ended
                info["final_info"], info["_final_info"] = info.get("final_info", {}), ended
                self._add_final_info(leaves, ended, info["final_info"])
        info["env_id"] = env_id
        info["players"] = {"env_id": env_id}
        info["elapsed_step"] = elapsed_step
        info = self._infos.finish(info, len(env_id))
        obs = self._build_obs(leaves)
        return (obs, info) if reset else (obs, reward, terminated, truncated, info)

    def _ended(self, leaves: Sequence[Any]) -> Any:
        _, terminated, truncated, *_ = leaves[self._rest]
        return terminated | truncated

    def _final_obs(self, leaves: Sequence[Any], ended: Any) -> Any:
        """The last observations of episodes that ended in these rows, of which there are some."""
        raise NotImplementedError


def metadata_of(config: PoolConfig) -> dict[str, Any]:
    """What a pool's `metadata` says."""
    from gymnasium.vector import AutoresetMode

    mode = AutoresetMode[config.autoreset_mode.upper()]
    return {"autoreset_mode": mode, "render_modes": ["rgb_array"]}


class GymPool(TuplePool):
    """A pool with EnvPool's gym API.

    `reset() -> (obs, info)` and `step(action) -> (obs, reward, terminated, truncated, info)`; every array has
    the rows of the batch as its first axis. Spaces are those of one env, of the library that the env was
    described with. `info` has `env_id`, `players` and `elapsed_step`, and what `_info_envpool` returned, in
    the layout that the setting `infos` names; in same-step mode, where an episode ended, also `final_obs` (in
    every row the observation that the step led to), `final_info`, and the masks `_final_obs` and
    `_final_info`.
    """

    def _final_obs(self, leaves: Sequence[Any], ended: Any) -> Any:
        return self._build_obs(self._final_leaves(leaves, ended))

    @functools.cached_property
    def observation_space(self) -> Any:
        """Of one env."""
        return self.spec.space("observation", self.spec.described_with)

    @functools.cached_property
    def action_space(self) -> Any:
        """Of one env."""
        return self.spec.space("action", self.spec.described_with)

    @property
    def single_observation_space(self) -> Any:
        """Of one env."""
        return self.observation_space

    @property
    def single_action_space(self) -> Any:
        """Of one env."""
        return self.action_space

    @property
    def num_envs(self) -> int:
        """How many envs the pool has."""
        return len(self)

    @functools.cached_property
    def metadata(self) -> dict[str, Any]:
        """`autoreset_mode` as Gymnasium's member, and `render_modes`."""
        return metadata_of(self._config)

    @property
    def render_mode(self) -> str | None:
        """As given to `make`."""
        return self._config.render_mode
