"""EnvPool's gym convention: five-tuple steps, single-env spaces."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from envpool_wrap.pool import Pool


def gym_result(pool: Any, leaves: Sequence[Any], info: dict[str, Any], reset: bool) -> Any:
    """`(obs, info)` after a reset, `(obs, reward, terminated, truncated, info)` after a step."""
    reward, terminated, truncated, env_id, elapsed_step = leaves[pool._num_obs : -1]
    info["env_id"] = env_id
    info["players"] = {"env_id": env_id}
    info["elapsed_step"] = elapsed_step
    obs = pool._build_obs(leaves)
    return (obs, info) if reset else (obs, reward, terminated, truncated, info)


class GymPool(Pool):
    """A pool with EnvPool's gym API.

    `reset() -> (obs, info)` and `step(action) -> (obs, reward, terminated, truncated, info)`; every array has
    the rows of the batch as its first axis. Spaces are those of one env, of the library that the env was
    described with. `info` has `env_id`, `players` and `elapsed_step`, and what `_info_envpool` returned.
    """

    _leaves = ("reward", "terminated", "truncated", "env_id", "elapsed_step")
    _pack = gym_result

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
        from gymnasium.vector import AutoresetMode

        return {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": ["rgb_array"]}

    @property
    def render_mode(self) -> str | None:
        """As given to `make`."""
        return self._config.render_mode
