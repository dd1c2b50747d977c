"""With the real `envpool` installed: `import envpool, envpool_wrap.integrations.envpool`.

From then on the generated envs, and those generated later, are in EnvPool's registry: `list_all_envs`, `make`
and `make_spec` know them. What these return is EnvPool's own Python layer over the raw classes of a generated
module (`_MyEnvSpec`, `_MyEnvPool`). What that layer cannot read off raw specs, or leaves out, is added here.
torchrl's `MultiThreadedEnv` makes its pools this way.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from envpool_protocol import records
from envpool_protocol.cpp_text import class_names
from envpool_protocol.descriptions import Description
from envpool_protocol.errors import BuildError, SpecError
from envpool_wrap.config import PoolConfig
from envpool_wrap.imports import needs
from envpool_wrap.modules import is_prebuilt
from envpool_wrap.pool_spec import PoolSpec
from envpool_wrap.registry import find

with needs("envpool", envpool="1.2"):  # older ones have another registry, and classes for old gym in it
    from envpool.python.dm_envpool import DMEnvPoolMeta
    from envpool.python.env_spec import EnvSpecMeta, EnvSpecMixin
    from envpool.python.envpool import EnvPoolMixin
    from envpool.python.gymnasium_envpool import GymnasiumEnvPoolMeta
    from envpool.registration import registry


def enter(task_id: str) -> None:
    """Enter `task_id` in EnvPool's registry. Its module is not looked for before a pool is made."""
    if task_id not in registry.specs:
        names = (f"{task_id}:{kind}" for kind in ("spec", "dm", "gymnasium"))
        registry.register(task_id, __name__, *names, base_path="", render=False)


def __getattr__(name: str) -> Any:
    """For EnvPool's registry: the class `MyEnv_wrap:spec`, `MyEnv_wrap:dm` or `MyEnv_wrap:gymnasium`."""
    task_id, colon, kind = name.rpartition(":")
    if not colon:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _class(find(task_id).module, task_id, kind)


@functools.cache
def _class(module: ModuleType, task_id: str, kind: str) -> Any:
    """A class of EnvPool's Python layer over one of the module's raw classes."""
    if is_prebuilt(module):
        raise BuildError(f"{task_id}: EnvPool's layer needs a compiled module, and no compiler was found")
    description = Description.from_json(json.loads(module.description))
    name = description.spec.name
    raw_spec, raw_pool = (getattr(module, raw) for raw in class_names(name))
    if kind == "spec":
        told = {**_spaces(description), **_ARRAY_SPECS, "__module__": __name__}
        return EnvSpecMeta(f"{name}EnvSpec", (raw_spec,), told)
    _check_names(description, kind)
    meta, api = {"dm": (DMEnvPoolMeta, "DM"), "gymnasium": (GymnasiumEnvPoolMeta, "Gymnasium")}[kind]
    added = {"close": _close, "xla": _xla, "__module__": __name__}
    try:
        return meta(f"{name}{api}EnvPool", (raw_pool,), added)
    except ValueError as error:  # of namedtuple, about a key
        raise SpecError(
            f"{task_id}: EnvPool's {kind} API cannot have these keys: {error}; {_INSTEAD}"
        ) from error


def _close(pool: Any, **kwargs: Any) -> None:
    """What EnvPool's own does, and the envs and workers, which its layer leaves to the garbage collector."""
    EnvPoolMixin.close(pool)
    pool._close()


def _xla(pool: Any) -> None:
    raise NotImplementedError("envs in Python cannot be stepped from compiled JAX code; use send and recv")


def _spaces(description: Description) -> dict[str, Any]:
    """The spaces of a spec: exact, which those that EnvPool's layer reads off raw bounds are not always.

    Nested as that layer nests data: a Tuple is a Dict with the keys "0", "1", ..., and an action of several
    leaves is `{"action": {...}}`. `observation_space` and `action_space` are old gym's wherever that can be
    imported, as stock torchrl expects of a spec.
    """
    obs, action = _with_dicts(description.observation_space), _with_dicts(description.action_space)
    if action["space"] == "Dict":
        action = {"space": "Dict", "spaces": [["action", action]]}
    own = PoolSpec(replace(description, observation_space=obs, action_space=action), PoolConfig())
    names = [f"{prefix}{side}_space" for prefix in ("", "gymnasium_") for side in ("observation", "action")]

    def told(name: str) -> property:
        return property(lambda spec: getattr(own, name))

    return {name: told(name) for name in names}


def _array_specs(name: str) -> property:
    """EnvPool's, with bounds in the shape of the array: raw specs have those of its elements in one row."""

    def told(spec: Any) -> dict[str, Any]:
        specs: dict[str, Any] = getattr(EnvSpecMixin, name).fget(spec)
        for one in specs.values():
            bounds = (one.minimum, one.maximum)
            one.minimum, one.maximum = (np.reshape(b, one.shape) if np.ndim(b) else b for b in bounds)
        return specs

    return property(told)


_ARRAY_SPECS = {name: _array_specs(name) for name in ("state_array_spec", "action_array_spec")}


def _with_dicts(space: Mapping[str, Any]) -> Mapping[str, Any]:
    if "spaces" not in space:
        return space
    return {"space": "Dict", "spaces": [[str(key), _with_dicts(child)] for key, child in space["spaces"]]}


def _check_names(description: Description, kind: str) -> None:
    """EnvPool's layer takes the names of leaves apart at each dot and colon.

    Raises:
        SpecError: a key has one; in the dm API, observation and info have a key in common.
    """
    spec = description.spec
    for side, space in (("obs", spec.obs), ("action", spec.action), ("info", spec.info)):
        for node in space.nodes if space else ():
            if set(str(node.key)) & {".", ":"}:
                raise SpecError(f"{side}: EnvPool's layer would take the key {node.key!r} apart; {_INSTEAD}")
    obs, info = (
        [space.nodes[child].key for child in space.nodes[0].children] if space else []
        for space in (spec.obs, spec.info)
    )
    both = set(obs or ["obs"]) & {"env_id", "players", *info}
    if kind == "dm" and both:
        raise SpecError(
            f"EnvPool's dm API has one place for obs and info, and {both} are in both; {_INSTEAD}"
        )


_INSTEAD = "rename it, or make the pool with envpool_wrap.make"

records.on_save.append(enter)
for _task_id in records.task_ids():
    enter(_task_id)
