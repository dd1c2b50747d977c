"""Stable-Baselines3's `VecEnv` over a pool: `PPO("MlpPolicy", SB3VecEnv("CartPole-v1_wrap", num_envs=8))`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

import envpool_wrap
from envpool_protocol.errors import ConfigError, SpecError
from envpool_protocol.notices import notice
from envpool_wrap import access
from envpool_wrap.faces.gym import TuplePool
from envpool_wrap.imports import needs
from envpool_wrap.infos import LAYOUTS, listed_row
from envpool_wrap.integrations.closing import closed_on_error
from envpool_wrap.integrations.pending import drop_pending
from envpool_wrap.pool import Pool

with needs("sb3", stable_baselines3="2.6"):  # older ones do not take gymnasium 1.1
    from stable_baselines3.common.vec_env import VecEnv

_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)


class SB3VecEnv(VecEnv):  # type: ignore[misc]
    """A pool as a `VecEnv`.

    `reset() -> obs` and `step(actions) -> (obs, rewards, dones, infos)`: `rewards` float32 and `dones` bool,
    both of shape (num_envs,), `infos` a list of dicts. Each has `TimeLimit.truncated` (truncated and not
    terminated), and where an episode ended `terminal_observation`; the info of the reset that followed is in
    `reset_infos`. Arrays are never written again. `seed` and `set_options` are for the next `reset`; without
    `seed`, the pool's own setting counts.

    Attributes:
        pool: the pool; `close` closes it.
    """

    _infos = LAYOUTS["list"]

    def __init__(self, envs: Pool | str | Sequence[Callable[[], Any]], **config: Any) -> None:
        """Make a pool, or take one.

        Args:
            envs: a task id; a synchronous pool of the gym or gymnasium face in same-step mode; or functions
                as `from_env_fns` takes them, so that `make_vec_env(..., vec_env_cls=SB3VecEnv)` works.
            **config: settings of the pool that is made; see `envpool_wrap.config.PoolConfig`.

        Raises:
            ConfigError: a setting, or a pool, that does not go with Stable-Baselines3.
            SpecError: an observation space that Stable-Baselines3 does not have: Tuple, Text, nested Dict.
            EnvPoolError: what `make` and `from_env_fns` raise.
        """
        self.pool: Any = envs if isinstance(envs, Pool) else _made(envs, config)
        with closed_on_error(None if self.pool is envs else self.pool):
            if self.pool is envs and config:
                raise ConfigError(f"settings {list(config)} for a pool that is there; give them to make()")
            _check_pool(self.pool)
            observation_space = self.pool.spec.gymnasium_observation_space
            _check_space(observation_space)
            super().__init__(len(self.pool), observation_space, self.pool.spec.gymnasium_action_space)
            if self.has_attr("metadata"):  # of the env, as DummyVecEnv has it: VecVideoRecorder wants the fps
                self.metadata = self.get_attr("metadata", 0)[0]

    def reset(self) -> Any:
        drop_pending(self.pool)  # a step that nobody waits for is cancelled, as SB3 says
        seeds = None if all(seed is None for seed in self._seeds) else self._seeds
        self.pool._send_reset(None, seeds, self._options)
        self._reset_seeds()
        self._reset_options()
        return self._recv(reset=True)

    def step_async(self, actions: Any) -> None:
        """Send a batch of actions. Raises what `Pool.send` raises."""
        if isinstance(self.action_space, spaces.MultiBinary):
            actions = _as_bits(actions)
        self.pool.send(actions)

    def step_wait(self) -> Any:
        """The step's `(obs, rewards, dones, infos)`. Raises what `Pool.recv` raises."""
        return self._recv(reset=False)

    def _recv(self, reset: bool) -> Any:
        pool = self.pool
        return pool._finish(pool._core.recv(pool._view, pool._timeout), reset, self)

    def _pack(self, leaves: Sequence[Any], info: dict[str, Any], reset: bool) -> Any:
        pool = self.pool
        obs = pool._build_obs(leaves)
        reward, terminated, truncated, *_ = leaves[pool._rest]
        if reset:
            self.reset_infos = self._infos.finish(info, len(reward))
            return obs
        dones = terminated | truncated
        ended = dones.nonzero()[0].tolist()
        final_info: dict[str, Any] = {}
        if ended:
            if pool._episodes is not None:
                final_info = {key: info.pop(key) for key in ("episode", "_episode")}
            pool._add_final_info(leaves, dones, final_info)
        infos = self._infos.finish(info, len(reward))
        for row in ended:
            self.reset_infos[row] = infos[row]
            infos[row] = listed_row(infos[row].pop("final_info", None), final_info, row)
            last = [leaf[row].copy() for leaf in leaves[pool._finals]]
            infos[row]["terminal_observation"] = pool._build_obs(last)
        for one in infos:
            one["TimeLimit.truncated"] = False
        for row in (truncated & ~terminated).nonzero()[0].tolist():
            infos[row]["TimeLimit.truncated"] = True
        return obs, reward.astype(np.float32, copy=False), dones, infos

    def close(self) -> None:
        """Close the pool. May be called again."""
        self.pool.close()

    # ---- the envs ----

    def has_attr(self, attr_name: str) -> bool:
        """Whether every env has this attribute, itself or through its wrappers."""
        return all(self.pool._apply(access.Has(attr_name), None))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of each env; `render_mode` also of envs that can be rendered without one."""
        asked = access.RenderMode() if attr_name == "render_mode" else access.Read(attr_name)
        return self._ask(asked, indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set the attribute to one value, in the wrapper that has it, else in the outermost."""
        self._ask(access.Write(attr_name, value), indices)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> Any:
        """Call the method of each env, on its worker: a list of what it returned."""
        return self._ask(access.Call(method_name, method_args, method_kwargs), indices)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return self._ask(access.IsWrapped(wrapper_class), indices)

    def get_images(self) -> list[Any]:
        """One frame per env, uint8 of shape (height, width, 3)."""
        if self.render_mode != "rgb_array":
            notice(f"render_mode is {self.render_mode!r}; images need 'rgb_array', given to make()")
            return [None] * self.num_envs
        return self._ask(access.Render(), None)

    def _ask(self, question: Callable[[Any], Any], indices: Any) -> list[Any]:
        """`indices` as SB3 has them: None, an int or ints, negative ones from the end."""
        ids = None if indices is None else [range(len(self.pool))[i] for i in self._get_indices(indices)]
        answers: list[Any] = [] if ids == [] else self.pool._apply(question, ids)
        return answers

    def __repr__(self) -> str:
        return f"SB3VecEnv({self.pool!r})"


def _made(envs: Any, config: dict[str, Any]) -> Any:
    config = {"autoreset_mode": "same_step", **config}
    if isinstance(envs, str):
        return envpool_wrap.make_gym(envs, **config)
    if isinstance(envs, Sequence):
        return envpool_wrap.from_env_fns(envs, "gym", **config)
    raise ConfigError(f"SB3VecEnv({envs!r}): expected a task id, a pool or a list of functions")


def _check_pool(pool: Any) -> None:
    if not isinstance(pool, Pool):
        raise ConfigError(
            f"{pool!r} is a simulator that is batched already: SB3VecEnv takes pools of envs, since "
            "Stable-Baselines3 has NumPy arrays alone, and asks envs one by one; use the pool's own step(), "
            "or ElegantRLVecEnv, which leaves arrays where they are"
        )
    config = pool._config
    if not isinstance(pool, TuplePool):
        raise ConfigError(f"{pool!r}: a TimeStep has no info; make it with env_type='gym'")
    if config.is_async:
        raise ConfigError(
            f"batch_size={config.batch_size} with num_envs={config.num_envs} is an asynchronous pool; "
            "Stable-Baselines3 steps all envs at once; make it with batch_size=0"
        )
    if config.autoreset_mode != "same_step":
        raise ConfigError(
            f"autoreset_mode={config.autoreset_mode!r}: Stable-Baselines3 has an env reset in the step that "
            "ends its episode; make the pool with autoreset_mode='same_step'"
        )


def _check_space(space: spaces.Space[Any]) -> None:
    members = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    if not all(isinstance(member, _SPACES) for member in members):
        names = ", ".join(known.__name__ for known in _SPACES)
        raise SpecError(f"observation space {space}: Stable-Baselines3 takes {names}, or one Dict of these")


def _as_bits(actions: Any) -> Any:
    """SB3's Bernoulli policies give floats. What is no bit is left for the pool to refuse."""
    bits = np.asarray(actions).astype(np.int8)
    return bits if np.array_equal(bits, actions) else actions
