"""The settings of a pool: one table row each, checked before anything is built."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from envpool_protocol.errors import ConfigError, nearest

Seeds = list[int | None]
_MOST = 2**31 - 1
_MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class PoolConfig:
    """What a pool is made with; each field is a keyword of `make`.

    Attributes:
        num_envs: how many envs.
        batch_size: rows of one `recv`; 0 or `num_envs`: synchronous.
        num_threads: number of workers; 0: as many as there are envs or cores, whichever is less.
        compiled: run the compiled hooks of a class that was generated with `compiled=True`: True, False, or
            `"auto"`: where there are some.
        backend: `"inline"`, `"thread"`, `"process"` or `"auto"`.
        caller_steps: the calling thread steps a share: True, False or `"auto"`.
        seed: int s → env i gets s + i; a list of `num_envs` ints; a `numpy.random.SeedSequence`; None → a
            fresh one.
        env_kwargs: constructor arguments: one dict, a list of `num_envs` dicts, or `f(env_id) -> dict`.
        render_mode: given to the constructor if it takes it.
        max_episode_steps: the pool truncates an episode after so many steps; None: never.
        autoreset_mode: what follows an episode's end: `"next_step"` (the env's next step is a reset),
            `"same_step"` (it is reset at once; the last observation is in `final_obs`), or `"disabled"` (you
            reset it). Gymnasium's `AutoresetMode` members are taken too.
        keep_options: whether an autoreset gives the env the options of its last `reset(options=)` again.
        on_error: `"raise"`, or `"restart"`: build a failed env again, its episode ends as truncated.
        max_restarts: how often one env may be restarted before its error is raised after all.
        timeout: seconds that one `recv` may take, or None.
        thread_affinity_offset: pin worker i to core (offset + i); -1: no pinning.
        check: whether observations are looked at for values outside their space: True, False, or `"auto"`:
            for the first 100 steps of each env. Shape and dtype are always checked.
        infos: the layout of `info`: `"auto"`: Gymnasium's; `"list"`: one dict per row; `"none"`: what envs
            return as info is dropped. See `envpool_wrap.infos`.
        episode_stats: `info["episode"]` has return, length and duration of each episode that ended. See
            `envpool_wrap.episode_stats`.
        max_num_players, reward_threshold: see the documentation.
    """

    num_envs: int = 1
    batch_size: int = 0
    num_threads: int = 0
    compiled: bool | str = "auto"
    backend: str = "auto"
    caller_steps: bool | str = "auto"
    seed: Any = 42
    env_kwargs: Any = None
    render_mode: str | None = None
    max_episode_steps: int | None = None
    autoreset_mode: Any = "next_step"
    keep_options: bool = False
    on_error: str = "raise"
    max_restarts: int = 10
    timeout: float | None = None
    check: bool | str = "auto"
    infos: str = "auto"
    episode_stats: bool = False
    thread_affinity_offset: int = -1
    max_num_players: int = 1
    reward_threshold: float | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> PoolConfig:
        """Check settings and fill in defaults.

        Raises:
            ConfigError: an unknown key, or a value that is impossible.
        """
        known = [field.name for field in fields(cls)]
        for key in settings:
            if key not in known and key not in _ENVPOOL_KEYS:
                raise ConfigError(
                    f"unknown setting {key!r}.{nearest(key, known)} Settings: {', '.join(known)}. "
                    f"An argument of the env's constructor goes into env_kwargs={{{key!r}: ...}}"
                )
        checked = {key: (_CHECKS | _ENVPOOL_KEYS)[key](key, value) for key, value in settings.items()}
        values = {key: value for key, value in checked.items() if key in known}
        if values.get("seed", 42) is None:
            values["seed"] = secrets.randbits(31)
        config = cls(**values)
        if config.batch_size > config.num_envs:
            raise ConfigError(
                f"batch_size={config.batch_size} is more than num_envs={config.num_envs}; "
                "expected 0 (synchronous) to num_envs"
            )
        return config

    @property
    def rows(self) -> int:
        """Rows of a full batch."""
        return self.batch_size or self.num_envs

    @property
    def is_async(self) -> bool:
        """Whether batches hold the envs that finish first."""
        return self.rows < self.num_envs


def seeds_of(seed: Any, num_envs: int) -> Seeds:
    """One seed per env.

    Raises:
        ConfigError: a list of the wrong length, or something that is not a seed.
    """
    if isinstance(seed, np.random.SeedSequence):
        # Children by their keys, as spawn() makes them, but without counting on the caller's object.
        keys = [(*seed.spawn_key, env) for env in range(num_envs)]
        children = [
            np.random.SeedSequence(seed.entropy, spawn_key=key, pool_size=seed.pool_size) for key in keys
        ]
        return [int(child.generate_state(1, np.uint64)[0] >> np.uint64(1)) for child in children]
    if is_one_each(seed):
        if len(seed) != num_envs:
            raise ConfigError(f"seed is a list of {len(seed)} for {num_envs} envs; expected one seed per env")
        return [None if one is None else _seed("seed", one) for one in seed]
    first = _seed("seed", seed)
    return [_seed("seed", first + env) for env in range(num_envs)]


def is_one_each(seed: Any) -> bool:
    """Whether these are seeds, one per env, and not one for all."""
    return isinstance(seed, list | tuple | range) or (isinstance(seed, np.ndarray) and seed.ndim > 0)


def _integer(key: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"{key}={value!r}: expected an int") from None


def _seed(key: str, value: Any) -> int:
    number = _integer(key, value)
    if not 0 <= number <= _MOST_SEED:
        raise ConfigError(f"{key}={number}: expected 0 to 2**63 - 1")
    return number


def _core_offset(key: str, value: Any) -> int:
    number = _integer(key, value)
    if not -1 <= number <= _MOST:
        raise ConfigError(f"{key}={number}: expected -1 (no pinning) or the number of a core")
    return number


def _at_least(least: int) -> Callable[[str, Any], int]:
    def check(key: str, value: Any) -> int:
        number = _integer(key, value)
        if not least <= number <= _MOST:
            raise ConfigError(f"{key}={number}: expected an int of at least {least}, and below 2**31")
        return number

    return check


def _one_of(*choices: Any) -> Callable[[str, Any], Any]:
    def check(key: str, value: Any) -> Any:
        plain = getattr(value, "value", value)  # an Enum member, such as Gymnasium's AutoresetMode
        plain = bool(plain) if isinstance(plain, np.bool_) else plain
        for choice in choices:
            if plain is choice or (isinstance(plain, str) and _letters(plain) == _letters(choice)):
                return choice
        hint = nearest(str(plain), [choice for choice in choices if isinstance(choice, str)])
        expected = ", ".join(map(repr, choices))
        one_of = "one of " if len(choices) > 1 else ""
        raise ConfigError(f"{key}={value!r}: expected {one_of}{expected}.{hint}")

    return check


def _letters(word: Any) -> str:
    return str(word).lower().replace("-", "").replace("_", "")


def _or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda key, value: None if value is None else check(key, value)


def _positive(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not value > 0:
        raise ConfigError(f"{key}={value!r}: expected a number of seconds above 0, or None")
    return float(value)


def _anything(key: str, value: Any) -> Any:
    return value


# Only values that work are listed: what is not here is refused, not ignored.
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "num_envs": _at_least(1),
    "batch_size": _at_least(0),
    "num_threads": _at_least(0),
    "compiled": _one_of("auto", True, False),
    "backend": _one_of("auto", "inline", "thread", "process"),
    "caller_steps": _one_of("auto", True, False),
    "seed": _anything,
    "env_kwargs": _anything,
    "render_mode": _anything,
    "max_episode_steps": _or_none(_at_least(1)),
    "autoreset_mode": _one_of("next_step", "same_step", "disabled"),
    "keep_options": _one_of(False, True),
    "on_error": _one_of("raise", "restart"),
    "max_restarts": _at_least(0),
    "timeout": _or_none(_positive),
    "check": _one_of("auto", True, False),
    "infos": _one_of("auto", "list", "none"),
    "episode_stats": _one_of(False, True),
    "thread_affinity_offset": _core_offset,
    "max_num_players": _one_of(1),
    "reward_threshold": _anything,
}

# Keys that EnvPool users pass and that mean nothing here, or only what is the case anyway.
_ENVPOOL_KEYS: dict[str, Callable[[str, Any], Any]] = {
    "base_path": _anything,
    "gym_reset_return_info": _one_of(True),
}
