"""Isaac Gym's tasks as vector envs, and under the names of ElegantRL's wrappers.

    venv = from_isaac_gym(task)                          any task of isaacgymenvs, or alike
    env = IsaacVecEnv("Ant", env_num=4096, device_id=0)  makes the task, too

A task's own contract, which these translate: one `step` for all rows, into buffers that are written again; a
row whose `reset_buf` is set is reset inside the next step; `extras["time_outs"]` tells which of them only ran
out of time. Nothing here imports torch before Isaac Gym, which would refuse to load after it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envpool_protocol.errors import ConfigError, SpecError
from envpool_protocol.notices import notice
from envpool_protocol.spaces import space_description, space_from_description
from envpool_wrap.batched.pool import BatchedPool
from envpool_wrap.integrations.closing import closed_on_error

__all__ = ["IsaacGymVectorEnv", "IsaacOneEnv", "IsaacVecEnv", "PreprocessIsaacVecEnv", "from_isaac_gym"]

_TASK = ("num_envs", "reset_buf", "step")


def from_isaac_gym(task: Any) -> IsaacGymVectorEnv:
    """A task of `isaacgymenvs.make`, or anything with its contract, as a VectorEnv for BatchedPool.

    Raises:
        SpecError: it has no `num_envs`, `reset_buf` or `step`, or no spaces.
    """
    return IsaacGymVectorEnv(task)


class IsaacGymVectorEnv(VectorEnv):
    """A task as a VectorEnv in next-step mode, in torch, on the task's device; nothing is copied.

    A row that ended is terminated, or truncated if it is one of `extras["time_outs"]`; its observation is its
    last, and the step after it, whose action it ignores, resets it. `info` is the task's `extras`, with
    `states` where the task has them. `reset` flags all rows and steps with zeros, since a task's own `reset`
    resets nothing; with `seed`, it seeds torch's generators, which tasks draw from.

    Attributes:
        task: the task.
    """

    def __init__(self, task: Any) -> None:
        missing = [name for name in _TASK if not hasattr(task, name)]
        if missing:
            raise SpecError(
                f"{type(task).__name__} has no {', '.join(missing)}: expected a task of Isaac Gym"
            )
        self.task = task
        self.num_envs = int(task.num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = _space(task, "observation_space", "num_obs", np.inf)
        self.single_action_space = _space(task, "action_space", "num_actions", 1.0)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        import torch

        if seed is not None:
            torch.manual_seed(seed)
        device = getattr(self.task, "rl_device", None) or self.task.reset_buf.device
        shape = self.action_space.shape
        assert shape is not None  # a Box has one
        self.task.reset_buf.fill_(1)
        obs, *_, info = self.step(torch.zeros(shape, device=device))
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, reward, reset_buf, extras = self.task.step(actions)
        info = dict(extras or {})
        ended = reset_buf != 0
        truncated = self._time_outs(info, ended) & ended
        if isinstance(obs, Mapping):
            info |= {key: value for key, value in obs.items() if key != "obs"}
            obs = obs["obs"]
        return obs, reward, ended & ~truncated, truncated, info

    def _time_outs(self, info: Mapping[str, Any], ended: Any) -> Any:
        if "time_outs" in info:
            return info["time_outs"] != 0
        notice(
            f"{type(self.task).__name__} has no extras['time_outs']: episodes that ran out of time are taken "
            "for terminated ones"
        )
        return ended & ~ended

    def close(self, **kwargs: Any) -> None:
        getattr(self.task, "close", lambda: None)()


class IsaacVecEnv(BatchedPool):
    """ElegantRL's name: a task of isaacgymenvs as a BatchedPool of torch tensors.

    `reset() -> (state, info)`, `step(action) -> (state, reward, terminal, truncate, info)`, on the GPU. It
    has the attributes that ElegantRL's trainers read: `env_name`, `env_num`, `max_step`, `state_dim`,
    `action_dim`, `if_discrete`, `target_return`, `device`. A row that ended is reset in the step after it, as
    Isaac Gym does it: there `info["elapsed_step"]` is 0.
    """

    def __init__(
        self,
        env_name: str,
        *,
        env_num: int = 32,
        device_id: int | None = 0,
        rl_device_id: int | None = None,
        target_return: float | None = None,
        max_step: int | None = None,
        state_dim: int | None = None,
        action_dim: int | None = None,
        if_discrete: bool = False,
        if_print: bool = False,
        headless: bool = True,
        seed: int = 42,
        copy: bool = False,
        **task_settings: Any,
    ) -> None:
        """Make the task.

        Args:
            env_name: such as `"Ant"`.
            env_num: how many rows.
            device_id: the simulation's GPU; -1: the CPU; None: 0.
            rl_device_id: where tensors are returned, if the task shall copy them to another device.
            target_return: kept as an attribute.
            max_step: kept as an attribute; by default the task's limit.
            state_dim: what the task is expected to have.
            action_dim: as state_dim.
            if_discrete: as state_dim.
            if_print: say what was made.
            headless: for `isaacgymenvs.make`.
            seed: for `isaacgymenvs.make`, and for the first reset.
            copy: see BatchedPool.
            **task_settings: for `isaacgymenvs.make`.

        Raises:
            ImportError: Isaac Gym or isaacgymenvs is not installed, or torch was imported before it.
            SpecError: the task is not as expected.
        """
        make = _isaacgymenvs_make()
        devices = _device(device_id), _device(device_id if rl_device_id is None else rl_device_id)
        options = {"headless": headless, **task_settings}
        task = make(
            seed=seed, task=env_name, num_envs=env_num, sim_device=devices[0], rl_device=devices[1], **options
        )
        venv = from_isaac_gym(task)
        with closed_on_error(venv):
            super().__init__(venv, copy=copy, seed=seed)
            self.env_name, self.env_num = env_name, self.num_envs
            self.device = getattr(task, "rl_device", devices[1])
            self.max_step = max_step if max_step is not None else getattr(task, "max_episode_length", None)
            self.state_dim, self.action_dim = (
                int(np.prod(space.shape))
                for space in (self.single_observation_space, self.single_action_space)
            )
            self.if_discrete = isinstance(self.single_action_space, gymnasium.spaces.Discrete)
            self.target_return = target_return
            told = {
                "env_num": env_num,
                "state_dim": state_dim,
                "action_dim": action_dim,
                "if_discrete": if_discrete,
            }
            for name, expected in told.items():
                if expected is not None and getattr(self, name) != expected:
                    raise SpecError(
                        f"{env_name}: {name} is {getattr(self, name)}, and {expected} was expected"
                    )
        if if_print:
            print(self)


class PreprocessIsaacVecEnv(IsaacVecEnv):
    """IsaacVecEnv under the name that it had first."""


class IsaacOneEnv(gymnasium.Env):
    """ElegantRL's name: one env in NumPy, for evaluation: steps are copied from the device. You reset it.

    `reset() -> (state, info)`, `step(action) -> (state, reward, terminal, truncate, info)`: an array of shape
    (state_dim,), a float and two bools. Arguments and attributes are IsaacVecEnv's.

    Attributes:
        pool: the IsaacVecEnv.
    """

    def __init__(self, env_name: str, *, env_num: int = 1, **settings: Any) -> None:
        if env_num != 1:
            raise ConfigError(f"env_num={env_num}: IsaacOneEnv has one env; IsaacVecEnv has several")
        self.pool = IsaacVecEnv(env_name, env_num=1, **settings)
        self.observation_space = self.pool.single_observation_space
        self.action_space = self.pool.single_action_space
        for name in (
            "env_name",
            "env_num",
            "max_step",
            "state_dim",
            "action_dim",
            "if_discrete",
            "target_return",
        ):
            setattr(self, name, getattr(self.pool, name))

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.pool.reset(seed=seed, options=options)
        return _row(obs), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        import torch

        batch = torch.as_tensor(action, dtype=torch.float32, device=self.pool.device)[None]
        obs, reward, terminated, truncated, info = self.pool.step(batch)
        return _row(obs), float(reward), bool(terminated), bool(truncated), info

    def close(self) -> None:
        self.pool.close()


def _row(obs: Any) -> Any:
    return obs[0].detach().cpu().numpy().copy()  # the simulator writes its memory again


def _space(task: Any, name: str, size: str, bound: float) -> Any:
    """The task's space as Gymnasium's, whichever library it is of, or a Box of the size that it tells."""
    space = getattr(task, name, None)
    if space is not None:
        return space_from_description(space_description(space, name), "gymnasium")
    if not hasattr(task, size):
        raise SpecError(f"{type(task).__name__} has neither {name} nor {size}: expected a task of Isaac Gym")
    return gymnasium.spaces.Box(-bound, bound, (int(getattr(task, size)),), np.float32)


def _device(number: int | None) -> str:
    return "cpu" if number == -1 else f"cuda:{number or 0}"


def _isaacgymenvs_make() -> Any:
    if "torch" in sys.modules and "isaacgym" not in sys.modules:
        late = " It also has to be imported before torch, which is imported already."
    else:
        late = ""
    try:
        import isaacgym  # noqa: F401
        import isaacgymenvs
    except ImportError as error:
        raise ImportError(
            "Isaac Gym is not installed or cannot be loaded: it is not on PyPI. Download it from "
            "https://developer.nvidia.com/isaac-gym and its tasks from "
            f"https://github.com/isaac-sim/IsaacGymEnvs, and pip install both folders.{late} ({error})",
            name=error.name,
        ) from error
    return isaacgymenvs.make
