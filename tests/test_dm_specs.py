"""dm_env's specs as spaces."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
from dm_env import specs
from gymnasium import spaces

from envpool_protocol.dm_specs import space_of
from envpool_protocol.errors import SpecError
from envpool_protocol.spaces import space_spec
from envpool_protocol.spec import DTYPES

Pair = namedtuple("Pair", ["left", "right"])


def same(one: Any, two: Any) -> bool:
    return bool(one == two and one.dtype == two.dtype)


@pytest.mark.parametrize(
    ("spec", "space"),
    [
        (specs.Array((2, 3), np.float64), spaces.Box(-np.inf, np.inf, (2, 3), np.float64)),
        (specs.Array((), np.float32), spaces.Box(-np.inf, np.inf, (), np.float32)),
        (specs.Array((2,), np.uint8), spaces.Box(0, 255, (2,), np.uint8)),
        (specs.Array((0,), np.float64), spaces.Box(-np.inf, np.inf, (0,), np.float64)),
        (
            specs.BoundedArray((2,), np.float64, -1.0, [1.0, 2.0]),
            spaces.Box(np.array([-1.0, -1.0]), np.array([1.0, 2.0]), dtype=np.float64),
        ),
        (specs.BoundedArray((), np.int32, 0, 9), spaces.Box(0, 9, (), np.int32)),
        (specs.DiscreteArray(5), spaces.Discrete(5)),
    ],
    ids=repr,
)
def test_spec_becomes_the_space_of_the_same_values(spec: Any, space: Any) -> None:
    assert same(space_of(spec, "obs"), space)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_has_a_space(dtype: str) -> None:
    assert (
        space_spec(space_of(specs.Array((2,), np.dtype(dtype)), "obs"), "obs").leaves[0].dtype.name == dtype
    )


def test_nesting_and_order_are_kept() -> None:
    one = specs.DiscreteArray(2)
    space = space_of(OrderedDict(z=[one, {"b": one, "a": one}], a=Pair(one, (one,))), "obs")
    names = [leaf.name for leaf in space_spec(space, "obs").leaves]
    assert names == ["obs.z.0", "obs.z.1.b", "obs.z.1.a", "obs.a.0", "obs.a.1.0"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"x": [specs.StringArray(())]}, r"obs\.x\.0: the spec StringArray.* holds strings"),
        ({"x": spaces.Discrete(2)}, r"obs\.x: got Discrete\(2\) of type Discrete; expected a dm_env spec"),
        (None, r"obs: got None of type NoneType; expected a dm_env spec"),
        (specs.Array((), np.complex64), r"obs: the spec .* has dtype complex64; expected bool"),
    ],
)
def test_what_is_no_spec_of_numbers_is_refused_with_its_place(spec: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        space_of(spec, "obs")
