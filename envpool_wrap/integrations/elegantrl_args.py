"""What ElegantRL says of an env in numbers, and Gymnasium in spaces; and how `env_args` build an env.

Worker processes import this file, so it does not import torch.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from envpool_protocol.descriptions import close_env
from envpool_protocol.errors import ConfigError, ProtocolError, SpecError, nearest
from envpool_protocol.sources import Source, source_of
from envpool_wrap.config import PoolConfig

MAX_STEP = 12345  # what ElegantRL takes where nothing is said

_STATES = (spaces.Box, spaces.MultiBinary, spaces.MultiDiscrete)
_NUM_ENVS = ("num_envs", "env_num")  # one thing each, under the names that it has had
_GPU_IDS = ("gpu_id", "device_id", "sim_gpu_id")
_KNOWN = (
    *("env_name", "max_step", "state_dim", "action_dim", "if_discrete", "target_return"),
    *(*_NUM_ENVS, *_GPU_IDS, "if_build_vec_env", "if_print"),
)


@dataclass(frozen=True)
class Dims:
    """An env's spaces as ElegantRL has them.

    Attributes:
        state_dim: length of a state, or its shape if that is not (length,).
        action_dim: length of an action, or how many there are to choose from.
        if_discrete: whether actions are chosen.
    """

    state_dim: int | tuple[int, ...]
    action_dim: int
    if_discrete: bool

    @classmethod
    def of_spaces(cls, observation: Any, action: Any) -> Dims:
        """Of one env's spaces.

        Raises:
            SpecError: what ElegantRL's agents have no network for.
        """
        if not isinstance(observation, _STATES):
            raise SpecError(
                f"observation space {observation}: ElegantRL's states are rows of one tensor; wrap the env "
                "in gymnasium.wrappers.FlattenObservation"
            )
        state_dim = _dim(observation.shape)
        if isinstance(action, spaces.Discrete):
            return cls(state_dim, int(action.n), True)
        if isinstance(action, spaces.Box) and len(action.shape) == 1:
            return cls(state_dim, int(action.shape[0]), False)
        raise SpecError(f"action space {action}: ElegantRL's actions are a Discrete, or a Box with one axis")

    @classmethod
    def told(cls, env: Any, env_args: Mapping[str, Any]) -> Dims:
        """As `env_args` tell, else the env's attributes.

        Raises:
            ConfigError: neither does.
        """
        names = [one.name for one in fields(cls)]
        told: dict[str, Any] = {name: getattr(env, name, None) for name in names}
        told |= {name: env_args[name] for name in names if env_args.get(name) is not None}
        missing = [name for name, value in told.items() if value is None]
        if missing:
            raise ConfigError(
                f"{', '.join(missing)} of {type(env).__qualname__}: expected in env_args, or as attributes "
                "of the env, which has no spaces to read them from"
            )
        return cls(_dim(told["state_dim"]), int(told["action_dim"]), bool(told["if_discrete"]))

    def spaces(self) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """Of one env: an unbounded Box of float32; a Discrete, or a Box of float32 from -1 to 1."""
        shape = (self.state_dim,) if isinstance(self.state_dim, int) else self.state_dim
        action = (
            spaces.Discrete(self.action_dim)
            if self.if_discrete
            else spaces.Box(-1.0, 1.0, (self.action_dim,), np.float32)
        )
        return spaces.Box(-np.inf, np.inf, shape, np.float32), action

    def check(self, env_args: Mapping[str, Any], env_name: str) -> None:
        """Raise ConfigError where `env_args` tell something else."""
        for name, found in asdict(self).items():
            told = env_args.get(name)
            if told is not None and _dim(told) != found:
                raise ConfigError(f"env_args: {name}={told!r}, but that of {env_name} is {found!r}")


def _dim(told: Any) -> Any:
    """A length, or a shape that has not just one."""
    shape = tuple(np.atleast_1d(told).tolist())
    return shape[0] if len(shape) == 1 else shape


class EnvArgs:
    """`env_args`, sorted. The caller's dict is not written to.

    Attributes:
        env_name: as told, else the name of the class.
        told: all that was told.
        num_envs: how many envs; None: nothing is said.
        is_batch: whether the class makes a batch itself: its constructor takes `num_envs` or `env_num`.
        wants_batch: whether a batch is asked for: several envs, or `if_build_vec_env`.
    """

    def __init__(self, env_class: Any, env_args: Any, gpu_id: int) -> None:
        """Sort them.

        Raises:
            ConfigError: not a class, not a dict, a key that is missing, or one that nobody knows.
        """
        if not isinstance(env_args, Mapping):
            raise ConfigError(
                f"env_args={env_args!r}: expected a dict, such as {{'env_name': 'Pendulum-v1'}}"
            )
        is_make = env_class is gymnasium.make
        if not is_make and not isinstance(env_class, type):
            raise ConfigError(f"env_class={env_class!r}: expected a class, or gymnasium.make")
        if is_make and "env_name" not in env_args:
            raise ConfigError("env_args lacks 'env_name', the id that gymnasium.make is given")
        self.told = dict(env_args)
        self.env_name = str(self.told.get("env_name", env_class.__name__))
        sizes = [self.told[name] for name in _NUM_ENVS if self.told.get(name) is not None]
        self.num_envs = PoolConfig.of({"num_envs": sizes[0]}).num_envs if sizes else None
        parameters, takes_all = ((), True) if is_make else _parameters(env_class)
        self.is_batch = isinstance(env_class, type) and (
            issubclass(env_class, VectorEnv) or not set(parameters).isdisjoint(_NUM_ENVS)
        )
        switched = bool(self.told.get("if_build_vec_env"))
        if self.is_batch and switched:
            raise ConfigError(f"if_build_vec_env: {self.env_name} makes a batch of envs itself; leave it out")
        self.wants_batch = switched or (self.num_envs or 1) > 1
        self._target = self.told["env_name"] if is_make else env_class
        self._kwargs = self._arguments(parameters, takes_all, gpu_id)

    def _arguments(self, parameters: Sequence[str], takes_all: bool, gpu_id: int) -> dict[str, Any]:
        """What the constructor is given."""
        others = [name for name in self.told if name not in parameters and name not in _KNOWN]
        if others and not takes_all:
            hint = nearest(others[0], (*parameters, *_KNOWN))
            raise ConfigError(f"env_args: {others[0]!r} is no argument of {self.env_name}.{hint}")
        given = {name: value for name, value in self.told.items() if name in parameters or name in others}
        if self.num_envs is not None:
            given |= {name: self.num_envs for name in _NUM_ENVS if name in parameters}
        for name in _GPU_IDS:
            if name in parameters and given.get(name) is None:
                given[name] = gpu_id
        return given

    def env_fns(self) -> list[Callable[[], Any]]:
        """A function for each env that builds it on its worker."""
        source = source_of(self._target, None, self._kwargs)
        return [functools.partial(one_env, source, envid, self.told) for envid in range(self.num_envs or 1)]

    def batch(self) -> Any:
        """The env of a class that makes a batch itself.

        Raises:
            ConfigError: it has another number of envs than was told.
        """
        env = self._target(**self._kwargs)
        found = size_of(env)
        if self.num_envs not in (None, found):
            close_env(env)
            raise ConfigError(f"env_args: num_envs={self.num_envs}, and {self.env_name} made {found} envs")
        for name in ("env_name", "max_step", "target_return"):
            if name in self.told:
                setattr(env, name, self.told[name])
        return env


def size_of(env: Any) -> int:
    """How many envs there are in a batch.

    Raises:
        ProtocolError: it does not say.
    """
    for name in _NUM_ENVS:
        if getattr(env, name, None) is not None:
            return int(getattr(env, name))
    raise ProtocolError(
        f"{type(env).__qualname__} has neither num_envs nor env_num: expected a batch of envs"
    )


def one_env(source: Source, envid: int, told: Mapping[str, Any]) -> Any:
    """Env number `envid`, with spaces also if it came without."""
    env = source.make(envid)
    plain = hasattr(env, "step") and not hasattr(env, "observation_spec")  # neither hooks nor dm_env's
    if plain and getattr(env, "observation_space", None) is None:
        return SpacedEnv(env, Dims.told(env, told))
    return env


class SpacedEnv:
    """An env without spaces, given them.

    Its states become float32, which is what ElegantRL computes with, and an info that is None an empty one.
    """

    def __init__(self, env: Any, dims: Dims) -> None:
        self.env = env
        self.observation_space, self.action_space = dims.spaces()

    def reset(self, **kwargs: Any) -> Any:
        answer = self.env.reset(**kwargs)
        if not isinstance(answer, tuple):
            return _float32(answer)
        state, *others = answer
        return (_float32(state), *map(_info, others))

    def step(self, action: Any) -> Any:
        state, *outcome, info = self.env.step(action)
        return (_float32(state), *outcome, _info(info))

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not set yet
            raise AttributeError(name)
        return getattr(self.env, name)


def _float32(state: Any) -> Any:
    return np.asarray(state, np.float32)


def _info(info: Any) -> Any:
    return {} if info is None else info


def _parameters(env_class: type) -> tuple[list[str], bool]:
    """The names that the constructor takes, and whether it takes any besides."""
    kinds = {name: one.kind for name, one in inspect.signature(env_class).parameters.items()}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        name for name, kind in kinds.items() if kind in named
    ], inspect.Parameter.VAR_KEYWORD in kinds.values()
