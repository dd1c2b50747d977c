"""Say what is wrong with an observation that is outside of its space."""

from __future__ import annotations

from typing import Any

import numpy as np

from envpool_protocol.space_kinds import Bounds, extremes
from envpool_protocol.spec import DTYPES

ALWAYS = 2**63 - 1  # steps


def outside(leaf: str, value: Any, bounds: Bounds, check_steps: int) -> str:
    """The message for a value that the engine found to be outside of `bounds`: its first such element.

    Args:
        leaf: its name.
        value: an array of the leaf's dtype and shape; of text, a `<U` array of shape ().
        bounds: as `space_bounds` gives them.
        check_steps: how many steps of each env are checked.
    """
    what = _text(value.item(), bounds) if value.dtype.kind == "U" else _number(value, bounds)
    always = check_steps >= ALWAYS
    steps = "all steps" if always else f"the first {check_steps} steps of each env"
    more = "" if always else ", check=True checks all"
    return f"{leaf}: {what}. Observations are checked for {steps}; check=False turns that off{more}"


def _number(value: Any, bounds: Bounds) -> str:
    least, most = extremes(DTYPES[value.dtype.name])
    low, high = (
        np.resize(np.frombuffer(end, value.dtype) if end else np.array(none, value.dtype), value.shape)
        for end, none in ((bounds.low, least), (bounds.high, most))
    )
    index = tuple(int(i) for i in np.argwhere(~((value >= low) & (value <= high)))[0])
    place = f" at {list(index)}" if index else ""
    return f"{value[index]!s}{place} is outside of {low[index]!s} to {high[index]!s}"


def _text(value: str, bounds: Bounds) -> str:
    if len(value) < bounds.min_length:
        return f"{value!r} has {len(value)} characters; expected at least {bounds.min_length}"
    at, character = next(
        (at, character) for at, character in enumerate(value) if character not in bounds.characters
    )
    return f"{character!r} at {at} of {value!r} is none of the characters {bounds.characters!r}"
