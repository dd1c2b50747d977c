"""ElegantRL's envs: `build_env`, pools as its envs, and its batched envs as Gymnasium's.

build_env(env_class, env_args, gpu_id)      what ElegantRL's function of that name returns
ElegantRLVecEnv("MyEnv_wrap", num_envs=8)   envs as rows of tensors, reset in the step that ends an episode
ElegantRLEnv("MyEnv_wrap")                  one env in numpy, which its user resets
from_elegantrl(env)                         a batch of envs of ElegantRL's kind as a VectorEnv
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode

import envpool_wrap
from envpool_protocol.errors import ConfigError
from envpool_wrap.faces.gym import TuplePool
from envpool_wrap.imports import needs
from envpool_wrap.integrations.closing import closed_on_error
from envpool_wrap.integrations.elegantrl_args import EnvArgs
from envpool_wrap.integrations.elegantrl_batch import ElegantRLBatch, checked_actions, from_elegantrl
from envpool_wrap.integrations.elegantrl_face import ElegantRLFace
from envpool_wrap.pool import Pool

with needs("elegantrl"):
    import torch

    from envpool_wrap.integrations.devices import known_device

__all__ = ["ElegantRLEnv", "ElegantRLVecEnv", "build_env", "from_elegantrl"]


def build_env(env_class: Any = None, env_args: Any = None, gpu_id: int = -1, **config: Any) -> Any:
    """Build what `env_args` describe, as ElegantRL's function of that name does.

    A class whose constructor takes `num_envs` or `env_num` makes a batch itself; of any other, and of
    gymnasium's ids, a pool has as many as asked for. One env, unless `if_build_vec_env`, comes in numpy.

    Args:
        env_class: a class of ElegantRL's kind or one that can be registered, or `gymnasium.make`.
        env_args: `env_name`, `num_envs` (default 1), `max_step` (12345), `state_dim`, `action_dim` and
            `if_discrete`, which may be left out where the env says so itself; `if_build_vec_env`; and
            arguments of the constructor. It is not written to.
        gpu_id: number of the CUDA device; the CPU if it is -1, or if there is none.
        **config: settings of the pool, such as `seed` and `backend`; see `envpool_wrap.config.PoolConfig`.

    Returns:
        An `ElegantRLVecEnv`, or for one env an `ElegantRLEnv`.

    Raises:
        ConfigError: an argument that is missing, unknown, or not what the env says.
        EnvPoolError: what `from_env_fns` raises.
    """
    args = EnvArgs(env_class, env_args, gpu_id)
    if args.is_batch and config:
        raise ConfigError(f"settings {list(config)}: {args.env_name} makes a batch of envs without a pool")
    face = ElegantRLVecEnv if args.is_batch or args.wants_batch else ElegantRLEnv
    pool = (
        from_elegantrl(args.batch())
        if args.is_batch
        else envpool_wrap.from_env_fns(args.env_fns(), "gym", **{**face.settings, **config})
    )
    told: dict[str, Any] = {"env_name": args.env_name, "max_step": args.told.get("max_step")}
    if args.wants_batch and not args.is_batch:
        told["device"] = f"cuda:{gpu_id}" if gpu_id >= 0 and torch.cuda.is_available() else "cpu"
    with closed_on_error(pool):
        env: Any = face(pool, **told)
        env.dims.check(args.told, args.env_name)
    if "target_return" in args.told:
        env.target_return = args.told["target_return"]
    return env


class ElegantRLVecEnv(ElegantRLFace):
    """Envs as ElegantRL has them when there are several.

    `reset() -> (state, info)` and `step(action) -> (state, reward, terminal, truncate, info)`, tensors on
    `device`: `state` (num_envs, state_dim) and `reward` (num_envs,) float32, both flags (num_envs,) bool;
    `action` float (num_envs, action_dim), or int (num_envs,). The step that ends an episode resets the env:
    `state` has the first one of the next episode, and `info["final_obs"]`, where `info["_final_obs"]`, the
    last one of this.

    Tensors on the CPU share memory with the pool's arrays, which are yours, where the dtype is the same. All
    else that a batch of envs has, such as `cumulative_returns`, is its own.

    Attributes:
        device: where the tensors are. ElegantRL's other attributes are there, too.
        pool: the pool; `close` closes it.
    """

    settings: ClassVar[dict[str, Any]] = {"autoreset_mode": "same_step"}

    def __init__(
        self,
        envs: Any,
        *,
        device: Any = None,
        dtype: Any = torch.float32,
        env_name: str | None = None,
        max_step: int | None = None,
        **config: Any,
    ) -> None:
        """Make a pool, or take one.

        Args:
            envs: a task id; a synchronous pool of the gym or gymnasium face in same-step mode; or any
                `VectorEnv` in that mode, of arrays that torch can share.
            device: where tensors are; None: where those of `envs` are, and the CPU for a pool.
            dtype: of states; None: that of the observations, so that images stay uint8.
            env_name: default: the task id, or what `envs` is called.
            max_step: what the attribute says, and no more: it is `max_episode_steps` that ends episodes of a
                pool, and that is the default, else 12345.
            **config: settings of the pool that is made; see `envpool_wrap.config.PoolConfig`.

        Raises:
            ConfigError: a setting, a pool or a device that does not do.
            SpecError: observations that are not one array of numbers, or actions that ElegantRL lacks.
            EnvPoolError: what `make` raises.
        """
        asked = None if device is None else known_device(device)
        super().__init__(envs, env_name, max_step, config)
        self.device = asked or known_device(self._known.device or "cpu")
        self._dtype = dtype
        self._shape = (self.num_envs,) if self.if_discrete else (self.num_envs, self.action_dim)
        self._has_numpy = self._known.device is None  # until the first arrays have been seen

    def _check_pool(self) -> None:
        pool = self.pool
        is_dm = hasattr(pool, "observation_spec")
        if is_dm or not (hasattr(pool, "metadata") and hasattr(pool, "num_envs")):
            raise ConfigError(
                f"ElegantRLVecEnv({pool!r:.120}): expected a task id, a pool of the gym or gymnasium face, "
                "or a VectorEnv"
            )
        if isinstance(pool, Pool) and pool.is_async:
            raise ConfigError(
                f"{pool!r} is asynchronous; ElegantRL steps all envs at once: make it with batch_size=0"
            )
        if isinstance(pool, Pool) and pool.config["infos"] == "list":
            raise ConfigError("infos='list': ElegantRL's info is one dict; make the pool with infos='auto'")
        mode = pool.metadata.get("autoreset_mode")
        if mode is None:
            raise ConfigError(
                f"{pool!r:.120} does not say when it resets envs: expected AutoresetMode.SAME_STEP as its "
                "metadata['autoreset_mode']"
            )
        if mode is not AutoresetMode.SAME_STEP:
            raise ConfigError(
                f"{mode}: in ElegantRL the step that ends an episode resets the env; make the pool with "
                "autoreset_mode='same_step'"
            )

    def step(self, action: Any) -> Any:
        """Step every env.

        Raises:
            ActionError: wrong shape, dtype or device, or a tensor that requires grad. Nothing was sent.
            EnvError: an env raised; the whole batch is in `.result`.
        """
        if isinstance(action, torch.Tensor):
            checked_actions(action, self._shape, self.if_discrete, self.device)
            action = action.cpu().numpy() if self._has_numpy else action
        if self._first_action:
            action = action + self._first_action
        return self._ask(self.pool.step, action)

    def _pack(self, result: tuple[Any, ...]) -> tuple[Any, ...]:
        obs, *outcome, info = result
        self._has_numpy = isinstance(obs, np.ndarray)
        if "final_obs" in info:
            info = {**info, "final_obs": self._tensor(_whole(info["final_obs"], obs), self._dtype)}
            if "_final_obs" in info:
                info["_final_obs"] = self._tensor(info["_final_obs"])
        state = self._tensor(obs, self._dtype)
        if not outcome:
            return state, info
        reward, terminal, truncate = outcome
        return (
            state,
            self._tensor(reward, torch.float32),
            self._tensor(terminal, torch.bool),
            self._tensor(truncate, torch.bool),
            info,
        )

    def _tensor(self, array: Any, dtype: Any = None) -> Any:
        if isinstance(array, np.ndarray):
            return torch.from_numpy(array).to(device=self.device, dtype=dtype)
        tensor = array if isinstance(array, torch.Tensor) else torch.from_dlpack(array)
        if tensor.device != self.device:
            raise ConfigError(
                f"device={str(self.device)!r}, and the envs are on {tensor.device}: nothing is copied "
                f"between devices unseen; use ElegantRLVecEnv(..., device={str(tensor.device)!r})"
            )
        return tensor if dtype is None else tensor.to(dtype)

    def __getattr__(self, name: str) -> Any:
        pool = self.__dict__.get("pool")
        if name.startswith("_") or pool is None or isinstance(pool, Pool):  # whose envs have one each
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        batch = getattr(pool, "venv", pool)
        return getattr(batch.env if isinstance(batch, ElegantRLBatch) else batch, name)


def _whole(final_obs: Any, obs: Any) -> Any:
    """Gymnasium's object array, None where no episode ended, as one array with `obs` there."""
    if not isinstance(final_obs, np.ndarray) or final_obs.dtype != object:
        return final_obs
    return np.stack([now if last is None else last for last, now in zip(final_obs, obs, strict=True)])


class ElegantRLEnv(ElegantRLFace):
    """One env as ElegantRL has it: arrays and numbers, and nobody resets it but you.

    `reset() -> (state, info)` and `step(action) -> (state, reward, terminal, truncate, info)`: `state` and
    `action` are arrays (state_dim,) and (action_dim,), or `action` an int; `reward` is a float, the flags are
    bools. All else, such as `render`, `unwrapped` or `cumulative_returns`, is the env's own.

    Attributes:
        pool: the pool; `close` closes it.
    """

    settings: ClassVar[dict[str, Any]] = {"autoreset_mode": "disabled", "infos": "list"}

    def __init__(
        self, envs: Any, *, env_name: str | None = None, max_step: int | None = None, **config: Any
    ) -> None:
        """Make a pool, or take one.

        Args:
            envs: a task id, or a pool of one env with `autoreset_mode="disabled"` and `infos="list"`.
            env_name: as for `ElegantRLVecEnv`.
            max_step: as for `ElegantRLVecEnv`.
            **config: as for `ElegantRLVecEnv`.

        Raises:
            ConfigError, SpecError, EnvPoolError: as for `ElegantRLVecEnv`.
        """
        super().__init__(envs, env_name, max_step, config)

    def _check_pool(self) -> None:
        if not isinstance(self.pool, TuplePool):
            raise ConfigError(f"ElegantRLEnv of {self.pool!r}: expected a task id, or a pool of one env")
        for key, value in {"num_envs": 1, **self.settings}.items():
            if self.pool.config[key] != value:
                raise ConfigError(
                    f"{key}={self.pool.config[key]!r}: ElegantRL resets a single env itself, and has no rows "
                    f"of it; make the pool with {key}={value!r}"
                )

    def step(self, action: Any) -> Any:
        """Step the env.

        Raises:
            ActionError: wrong shape or dtype, or the episode has ended and the env was not reset.
            EnvError: it raised.
        """
        return self._ask(self.pool.step, np.asarray(action)[None] + self._first_action)

    def _pack(self, result: tuple[Any, ...]) -> tuple[Any, ...]:
        rows = [part[0] for part in result]
        if len(rows) == 2:
            return tuple(rows)
        state, reward, terminal, truncate, info = rows
        return state, float(reward), bool(terminal), bool(truncate), info

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "pool" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return self.pool.get_attr(name)[0]
