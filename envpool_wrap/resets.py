"""What each env of a reset gets: a seed, and options. Given as one for all, one each, or by env id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from envpool_protocol.errors import ActionError
from envpool_wrap.config import Seeds, is_one_each, seeds_of

Options = list[dict[str, Any] | None]


def seeds_for(envs: Sequence[int], seed: Any, num_envs: int) -> Seeds:
    """One seed per env that is reset; None: no new one.

    Args:
        envs: their ids.
        seed: an int s → env i gets s + i; a SeedSequence → env i gets its stream i; a list with one per env
            that is reset; a dict by env id.
        num_envs: of the pool.

    Raises:
        ActionError: a dict that names an env that is not reset.
        ConfigError: see `seeds_of`.
    """
    if isinstance(seed, Mapping):
        seed = _by_env_id("seed", seed, envs)
    if is_one_each(seed):
        return seeds_of(seed, len(envs))
    seeds = seeds_of(seed, num_envs)
    return [seeds[env] if 0 <= env < num_envs else None for env in envs]  # the engine refuses the others


def options_for(envs: Sequence[int], options: Any) -> Options | None:
    """A dict per env that is reset, or None for it; None altogether where no env gets any.

    Args:
        envs: their ids.
        options: a dict for all, a list with one per env that is reset, or a dict of these by env id.

    Raises:
        ActionError: not one per env, no dict, or a dict that names an env that is not reset.
    """
    if isinstance(options, Mapping) and options and not any(isinstance(key, str) for key in options):
        options = _by_env_id("options", options, envs)
    if not isinstance(options, Mapping | Sequence | np.ndarray) or isinstance(options, str):
        raise ActionError(
            f"options={options!r}: expected a dict, a list of these with one per env, or a dict of these by "
            "env id"
        )
    each = [options] * len(envs) if isinstance(options, Mapping) else list(options)
    if len(each) != len(envs):
        raise ActionError(f"options is a list of {len(each)} for {len(envs)} envs; expected one dict per env")
    wrong = next((one for one in each if one is not None and not isinstance(one, Mapping)), None)
    if wrong is not None:
        raise ActionError(f"options={wrong!r}: expected a dict")
    return [dict(one) if one else None for one in each] if any(each) else None


def _by_env_id(what: str, values: Mapping[int, Any], envs: Sequence[int]) -> list[Any]:
    others = [key for key in values if key not in envs]
    if others:
        raise ActionError(
            f"{what} names env {others[0]!r}, which is not reset; expected keys out of {list(envs)}"
        )
    return [values.get(env) for env in envs]
