"""A pool at once, from functions without arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envpool_protocol.building import build
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import Source, thunks
from envpool_wrap import registry
from envpool_wrap.config import PoolConfig
from envpool_wrap.core import check_settings


def from_env_fns(
    env_fns: Sequence[Callable[[], Any]],
    env_type: str = "gymnasium",
    compiled: bool = False,
    name: str | None = None,
    **config: Any,
) -> Any:
    """Make a pool of what functions without arguments return, as Gymnasium's AsyncVectorEnv does.

    Env i is `env_fns[i]()`, of any kind that can be registered. Nothing is registered, and nothing compiled
    unless asked for. The first function is called once more, to read the spaces.

    Args:
        env_fns: one function per env. Worker processes get them as pickles (cloudpickle: lambdas too).
        env_type: `"gym"`, `"gymnasium"` or `"dm"`.
        compiled: compile a module for these spaces, once, instead of walking them at run time.
        name: what messages, and the compiled module, call these envs.
        **config: see `envpool_wrap.config.PoolConfig`; `num_envs` is how many functions there are.

    Raises:
        RegistrationError: not a list of functions, an empty one, or a bad name.
        ConfigError: a bad setting, such as another `num_envs`.
        ProtocolError, SpecError: the first env cannot be built or described.
        EnvError: an env cannot be built, or its spaces differ from those of the first.
        BuildError: `compiled`, and there is no compiler, or it refused the sources.
    """
    registry.refuse_pools("from_env_fns()")
    return pool_of(thunks(env_fns, name), env_type, compiled, config)


def pool_of(source: Source, env_type: str, compiled: bool, config: Mapping[str, Any]) -> Any:
    """A pool of envs that need not be registered. Raises what `from_env_fns` raises."""
    face = registry.face_of(env_type)
    settings = PoolConfig.of({"num_envs": source.num_envs, **config})
    check_settings(settings, source)
    description = source.describe()
    if compiled:
        path, key, _ = build(description, None, False, lambda line: None)
        module = registry.load_generated(path, key, source.name)
    else:
        module = prebuilt_module(description)
    return face(source, description, module, settings)
