"""A declaration of state proposed from an instance: what to add to a class, to be read before it is used."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np

from envpool_protocol.compiled.state import DECLARATION, declares

_NOT_STATE = ("observation_space", "action_space", "info_space", "spec", "metadata", "render_mode")


def proposed_form(value: Any) -> str | None:
    """What to declare an attribute of this value as, or None where a record cannot hold it."""
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, int):
        return "np.int64"
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        return f"(np.{value.dtype}, {value.shape})" if value.ndim else f"np.{value.dtype}"
    if isinstance(value, float):
        return "np.float64"
    if isinstance(value, np.random.Generator | np.random.RandomState | random.Random):
        return "Random"
    if declares(type(value)):
        return type(value).__qualname__
    if isinstance(value, list | tuple) and value:
        with contextlib.suppress(ValueError):
            return proposed_form(np.array(value))
    return None


def proposal(env: Any) -> str:
    """A declaration for the class of a built env, as text; what cannot be declared is in comments."""
    lines, imports = [], {"import numpy as np"}
    for name, value in getattr(env, "__dict__", {}).items():
        if name in _NOT_STATE or name.startswith("__"):
            continue
        form = proposed_form(value)
        if form == "Random":
            imports.add("from envpool_protocol.random import Random")
        lines.append(
            f"        {name!r}: {form},"
            if form
            else f"        # {name!r} is a {type(value).__name__}, which a record cannot hold"
        )
    body = "\n".join([f"    {DECLARATION} = {{", *lines, "    }"])
    return "\n".join([*sorted(imports), "", f"class {type(env).__name__}(EnvPoolProtocol):", body])
