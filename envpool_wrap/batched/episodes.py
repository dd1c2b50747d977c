"""Which step of its episode each row is at, counted on the simulator's own device.

A rule is a function of arrays alone: `where` and logic, no `any`, no `nonzero`, nothing that the host would
have to wait for. It takes what it kept of the last step and the simulator's (reward, terminated, truncated),
and gives what to keep and (reward, terminated, truncated, elapsed_step), all of shape (num_envs,) and new.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import array_api_compat

from envpool_protocol.errors import SpecError
from envpool_wrap.batched.arrays import Arrays
from envpool_wrap.config import PoolConfig


def published_mode(venv: Any) -> str | None:
    """The mode that a simulator's metadata names, as settings have it, or None."""
    published = (getattr(venv, "metadata", None) or {}).get("autoreset_mode")
    return None if published is None else mode_name(published)


def mode_name(mode: Any) -> str:
    """`"next_step"`, `"same_step"` or `"disabled"`, from these or Gymnasium's members. Raises ConfigError."""
    return PoolConfig.of({"autoreset_mode": mode}).autoreset_mode  # type: ignore[no-any-return]


def mode_of(venv: Any, given: Any) -> str:
    """The mode that is given, else the published one.

    Raises:
        SpecError: neither.
    """
    mode = published_mode(venv) if given is None else mode_name(given)
    if mode is None:
        raise SpecError(
            f"{type(venv).__name__} does not say what it does with a row whose episode ended. Set "
            'metadata["autoreset_mode"] in it, or give autoreset_mode=: "same_step" if the step that ends an '
            'episode returns the first observation of the next; "next_step" if it returns the last of its '
            'own, and the step after it ignores the action and resets; "disabled" if it waits for reset()'
        )
    return mode


class Kept(NamedTuple):
    """Between steps: `elapsed`, int32, and `resets`, bool: the rows that the next step resets."""

    elapsed: Any
    resets: Any


Rule = Callable[[ModuleType, Kept, Any, Any, Any], tuple[Kept, tuple[Any, Any, Any, Any]]]


def next_step(xp: ModuleType, kept: Kept, reward: Any, terminated: Any, truncated: Any) -> Any:
    """A row that ended is reset by the next step, whose reward and flags are none of either episode's."""
    going = ~kept.resets
    elapsed = (kept.elapsed + 1) * going
    reward = xp.where(going, reward, 0)
    kept = Kept(_new(xp, elapsed)[0], terminated | truncated)
    return kept, (reward, terminated & going, truncated & going, elapsed)


def same_step(xp: ModuleType, kept: Kept, reward: Any, terminated: Any, truncated: Any) -> Any:
    """A row that ended is reset at once: its observation is already that of the next episode."""
    elapsed = kept.elapsed + 1
    going = ~(terminated | truncated)
    return Kept(elapsed * going, kept.resets), (*_new(xp, reward, terminated, truncated), elapsed)


def disabled(xp: ModuleType, kept: Kept, reward: Any, terminated: Any, truncated: Any) -> Any:
    """Rows are reset by `reset` alone."""
    elapsed = kept.elapsed + 1
    return Kept(elapsed, kept.resets), _new(xp, reward, terminated, truncated, elapsed)


def _new(xp: ModuleType, *arrays: Any) -> tuple[Any, ...]:
    """Copies: a simulator may write its reward and flags again, and a user what the pool returned."""
    return tuple(xp.asarray(array, copy=True) for array in arrays)


RULES: dict[str, Rule] = {"next_step": next_step, "same_step": same_step, "disabled": disabled}


def compiled(function: Callable[..., Any], xp: ModuleType) -> Callable[..., Any]:
    """`function` of arrays, with `xp` as its first argument."""
    bound = functools.partial(function, xp)
    if not array_api_compat.is_jax_namespace(xp):
        return bound
    import jax

    # One dispatch instead of one per operation, and no constants to bring to the device each time.
    return jax.jit(bound)  # type: ignore[no-any-return]


class Episodes:
    """The rule of one mode, and what it kept, for the rows of one simulator."""

    def __init__(self, arrays: Arrays, mode: str, num_envs: int) -> None:
        xp = self._xp = arrays.xp
        self._zeros = functools.partial(xp.zeros, num_envs, device=arrays.device)
        self._rule = compiled(RULES[mode], xp)
        self._kept = Kept(self._zeros(dtype=xp.int32), self._zeros(dtype=xp.bool))

    def begin(self, mask: Any = None) -> tuple[Any, Any, Any, Any]:
        """What a reset has in place of the rule's answer. All rows count from 0 again, or those of `mask`."""
        xp = self._xp
        elapsed = self._zeros(dtype=xp.int32) if mask is None else self._kept.elapsed * ~mask
        resets = self._zeros(dtype=xp.bool) if mask is None else self._kept.resets & ~mask
        self._kept = Kept(elapsed, resets)
        flags = (self._zeros(dtype=xp.bool) for _ in range(2))
        return self._zeros(dtype=xp.float32), *flags, *_new(xp, elapsed)

    def step(self, reward: Any, terminated: Any, truncated: Any) -> tuple[Any, Any, Any, Any]:
        """The rule's (reward, terminated, truncated, elapsed_step)."""
        self._kept, (reward, terminated, truncated, elapsed) = self._rule(
            self._kept, reward, terminated, truncated
        )
        return reward, terminated, truncated, elapsed
