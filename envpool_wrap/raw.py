"""What stands behind the raw classes of a generated module: EnvPool's raw interface in EnvPool's terms.

EnvPool's Python layer reads keys and specs off `_MyEnvSpec` and moves flat lists of arrays through
`_send`, `_recv`, `_reset` and `_render` of `_MyEnvPool`. Only there are leaves called `obs:camera` and
`info:env_id`.
"""

from __future__ import annotations

import json
import operator
import weakref
from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import numpy as np

from envpool_protocol.errors import ConfigError
from envpool_protocol.sources import Description
from envpool_protocol.spaces import leaf_spaces, space_from_description
from envpool_protocol.spec import Leaf
from envpool_wrap import access
from envpool_wrap.config import PoolConfig
from envpool_wrap.core import OpenCore, env_factory
from envpool_wrap.engines import open_engine
from envpool_wrap.failures import raise_failures

# EnvPool's name of each leaf that the engine writes, in EnvPool's order.
_STATE = {
    "info:env_id": "env_id",
    "info:players.env_id": "env_id",
    "elapsed_step": "elapsed_step",
    "done": "done",
    "reward": "reward",
    "discount": "discount",
    "step_type": "step_type",
    "trunc": "trunc",
}
_ENVPOOL_DEFAULTS = {"base_path": "", "gym_reset_return_info": True, "env_seed": [], "render": False}
# What EnvPool's layer has a place for. (What an env returns as info it has not: only what is declared.)
_POSSIBLE: dict[str, tuple[Any, ...]] = {
    "autoreset_mode": ("next_step",),
    "on_error": ("raise",),
    "episode_stats": (False,),
    "infos": ("auto", "none"),
}


class Tables:
    """Keys, specs and defaults of one env, from its description (JSON)."""

    def __init__(self, description: str) -> None:
        self.description = Description.from_json(json.loads(description))
        spec = self.description.spec
        self.config_keys = [*(field.name for field in fields(PoolConfig)), *_ENVPOOL_DEFAULTS]
        self.default_config_values = (
            *(field.default for field in fields(PoolConfig)),
            *_ENVPOOL_DEFAULTS.values(),
        )
        told = [*spec.obs.leaves, *(spec.info.leaves if spec.info else ())]
        self.state_leaves = [*_STATE.values(), *(leaf.name for leaf in told)]
        self.state_keys = [*_STATE, *(_key(leaf) for leaf in told)]
        self.action_keys = ["env_id", "players.env_id", *(leaf.name for leaf in spec.action.leaves)]
        scalar = {leaf: _plain(np.int32) for leaf in ("env_id", "elapsed_step", "step_type")}
        scalar |= {leaf: _plain(np.bool_) for leaf in ("done", "trunc")}
        scalar |= {"reward": _plain(spec.reward.numpy), "discount": _plain(np.float32, (0.0, 1.0))}
        self.state_spec = [
            *(scalar[leaf] for leaf in _STATE.values()),
            *_specs(spec.obs, self.description.observation_space),
            *(_specs(spec.info, self.description.info_space) if self.description.info_space else ()),
        ]
        self.action_spec = [
            _plain(np.int32),
            _plain(np.int32),
            *_specs(spec.action, self.description.action_space),
        ]

    def check(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """`values` of all config keys, checked; a `batch_size` of 0 is settled, as EnvPool does."""
        config = self.config(values)
        settings = dict(zip(self.config_keys, values, strict=True)) | {"batch_size": config.rows}
        return tuple(settings.values())

    def config(self, values: tuple[Any, ...]) -> PoolConfig:
        """The settings that `values`, one per config key, stand for.

        Raises:
            ConfigError: a setting that EnvPool's layer has no place for, or a bad one.
        """
        settings = dict(zip(self.config_keys, values, strict=True))
        env_seed, render = settings.pop("env_seed"), settings.pop("render")
        if len(env_seed) > 0:
            settings["seed"] = env_seed
        if render:
            settings["render_mode"] = "rgb_array"
        config = PoolConfig.of(settings)
        for key, possible in _POSSIBLE.items():
            if (value := getattr(config, key)) not in possible:
                expected = " or ".join(map(repr, possible))
                raise ConfigError(
                    f"{key}={value!r}: EnvPool's own layer has no place for it; expected {expected}, "
                    "or make the pool with envpool_wrap.make"
                )
        return replace(config, infos="none")


class RawPool:
    """The engine's pool in EnvPool's terms: flat lists of arrays, env ids first."""

    def __init__(self, module: ModuleType, tables: Tables, values: tuple[Any, ...]) -> None:
        from envpool_wrap.registry import find

        config = tables.config(values)
        source = find(f"{tables.description.spec.name}_wrap").source
        factory = env_factory(source, tables.description, config)
        _, self._open = open_engine(factory, tables.description, module, config)
        self._core = self._open.pool
        self._finalizer = weakref.finalize(self, OpenCore.close_quietly, self._open)
        self._view = self._core.view(tables.state_leaves)
        self._timeout = config.timeout

    def send(self, action: list[Any]) -> None:
        """`[env_id, players.env_id, *leaves]`."""
        env_id, _, *leaves = action
        self._core.send(tuple(leaves), env_id)

    def recv(self) -> list[Any]:
        """One array per state key."""
        arrays: list[Any]
        *arrays, leftovers = self._core.recv(self._view, self._timeout)
        if leftovers is not None and leftovers[0]:
            raise_failures(leftovers[0], arrays)
        return arrays

    def reset(self, env_id: Any) -> None:
        """Send a reset to `env_id`."""
        self._core.reset(env_id, None, None)

    def render(self, env_ids: Any, width: int, height: int, camera_id: int) -> Any:
        """Frames of idle envs: uint8 of shape (envs, height, width, 3)."""
        if (width, height, camera_id) != (0, 0, -1):
            raise ConfigError(
                f"render with width {width}, height {height}, camera {camera_id}: the env itself decides "
                "these; leave render_width, render_height and render_camera_id out"
            )
        return np.stack(access.apply(self._core, access.Render(), env_ids))

    def close(self) -> None:
        """End the workers and close the envs."""
        self._open.close()
        self._finalizer.detach()


def _key(leaf: Leaf) -> str:
    return leaf.name.replace(".", ":", 1)


def _specs(spec: Any, description: Any) -> list[Any]:
    space = space_from_description(description, "gymnasium")
    return [_bounded(leaf, single) for leaf, single in zip(spec.leaves, leaf_spaces(space), strict=True)]


def _plain(dtype: Any, bounds: tuple[Any, Any] | None = None) -> tuple[Any, ...]:
    dtype = np.dtype(dtype)
    info: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype) if dtype.kind == "f" else None
    bounds = bounds or ((info.min, info.max) if info else (False, True))
    return (dtype, [], tuple(map(operator.methodcaller("item"), map(dtype.type, bounds))), ([], []))


def _bounded(leaf: Leaf, space: Any) -> tuple[Any, ...]:
    """EnvPool's (dtype, shape, (least, greatest), (least per element, greatest per element))."""
    if leaf.kind == "text":
        dtype, shape = leaf.element
        return (dtype, list(shape), ("", ""), ([], []))
    bounds = (leaf.low, leaf.high) if leaf.low is not None else (space.low, space.high)
    lows, highs = (np.ravel(np.asarray(bound)) for bound in bounds)
    if lows.size == 0:
        return (leaf.dtype.numpy, list(leaf.shape), (0, 0), ([], []))
    uniform = (lows == lows[0]).all() and (highs == highs[0]).all()
    each: tuple[list[Any], list[Any]] = ([], []) if uniform else (lows.tolist(), highs.tolist())
    return (leaf.dtype.numpy, list(leaf.shape), (lows.min().item(), highs.max().item()), each)
