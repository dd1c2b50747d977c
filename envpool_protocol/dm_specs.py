"""dm_env's specs as gymnasium spaces: what a pool of dm_env environments is described with.

Array           Box, unbounded for floats, all values of the dtype else
BoundedArray    Box
DiscreteArray   Discrete
dict            Dict, in the spec's own order
tuple, list     Tuple
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from envpool_protocol.errors import SpecError


def space_of(spec: Any, place: str) -> Any:
    """The gymnasium space of a spec, or of specs nested in dicts, tuples and lists.

    Raises:
        SpecError: strings, or something that is no spec; `place` is what the message calls it.
    """
    from dm_env import specs
    from gymnasium import spaces

    if isinstance(spec, Mapping):
        return spaces.Dict(OrderedDict((key, space_of(one, f"{place}.{key}")) for key, one in spec.items()))
    if isinstance(spec, tuple | list):
        return spaces.Tuple([space_of(one, f"{place}.{key}") for key, one in enumerate(spec)])
    if isinstance(spec, specs.StringArray):
        raise SpecError(f"{place}: the spec {spec!r} holds strings, which are not supported yet")
    if not isinstance(spec, specs.Array):
        given = f"{spec!r} of type {type(spec).__name__}"
        raise SpecError(f"{place}: got {given}; expected a dm_env spec, or a dict, tuple or list of them")
    if isinstance(spec, specs.DiscreteArray):
        return spaces.Discrete(int(spec.num_values))
    dtype = np.dtype(spec.dtype)
    if dtype.kind not in "biuf":
        raise SpecError(f"{place}: the spec {spec!r} has dtype {dtype}; expected bool, integers or floats")
    bounded = isinstance(spec, specs.BoundedArray)
    low, high = (spec.minimum, spec.maximum) if bounded else _range(dtype)
    bounds: Any = [np.array(np.broadcast_to(bound, spec.shape), dtype) for bound in (low, high)]
    return spaces.Box(bounds[0], bounds[1], spec.shape, dtype.type)


def _range(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    if dtype.kind == "f":
        return -np.inf, np.inf
    if dtype.kind == "b":
        return False, True
    return np.iinfo(dtype).min, np.iinfo(dtype).max
