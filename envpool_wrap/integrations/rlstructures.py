"""rlstructures' envs over a pool: `GymEnv`, whose batch shrinks as episodes end, and `GymEnvInf`.

    env = GymEnv([MyEnv() for _ in range(4)], seed=80)
    obs, running = env.reset()
    (obs, was_running), (obs2, running) = env.step(DictTensor({"action": actions}))

The calls are rlstructures'; docs/coming_from/rlstructures.md says where their results differ, and why.
"""

from __future__ import annotations

from typing import Any, ClassVar

import envpool_wrap
from envpool_protocol.errors import ConfigError
from envpool_protocol.sources import listed
from envpool_wrap.env_fns import pool_of
from envpool_wrap.integrations.closing import closed_on_error
from envpool_wrap.integrations.dict_tensor import DictTensor
from envpool_wrap.integrations.rlstructures_vec_env import VecEnv

__all__ = ["DictTensor", "GymEnv", "GymEnvInf", "GymInfEnv", "VecEnv"]


class GymEnv(VecEnv):
    """Envs that drop out of the batch when their episode ends, until all are reset.

    Args:
        envs: a list of live envs, which stay in this process; a list of functions without arguments, one per
            env; a task id; or a pool with `autoreset_mode="disabled"`.
        seed: env i gets seed + i with its first reset; None: a fresh one.
        device: where tensors are put. Actions may be anywhere.
        **config: settings of the pool that is made; see `envpool_wrap.config.PoolConfig`.

    Raises:
        ConfigError: a setting, or a pool, that does not go with this.
        EnvPoolError: what `VecEnv`, `make` and `from_env_fns` raise.
    """

    _mode: ClassVar[dict[str, Any]] = {"autoreset_mode": "disabled"}

    def __init__(self, envs: Any, seed: Any = None, *, device: Any = "cpu", **config: Any) -> None:
        given = not isinstance(envs, str | list | tuple)
        if given and (config or seed is not None):
            named = [*config] if seed is None else ["seed", *config]
            raise ConfigError(f"{', '.join(named)} beside {envs!r:.80}: give settings to envpool_wrap.make")
        pool = envs if given else _made(envs, {"infos": "none", **self._mode, "seed": seed, **config})
        with closed_on_error(None if given else pool):
            super().__init__(pool, device=device, infinite=self._mode["autoreset_mode"] == "same_step")


class GymEnvInf(GymEnv):
    """Envs that are reset in the step that ends their episode, so that all always run. Also `GymInfEnv`.

    Arguments are those of `GymEnv`; a pool has `autoreset_mode="same_step"`.
    """

    _mode: ClassVar[dict[str, Any]] = {"autoreset_mode": "same_step", "keep_options": True}


GymInfEnv = GymEnvInf


def _made(envs: Any, config: dict[str, Any]) -> Any:
    if isinstance(envs, str):
        return envpool_wrap.make_gym(envs, **config)
    return pool_of(listed(envs), "gym", False, config)
