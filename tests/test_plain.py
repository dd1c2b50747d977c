"""What worker processes send beside arrays comes back as it was: plain values, and whatever is not plain."""

from __future__ import annotations

import collections
import enum
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from envs import Counting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import envpool_wrap

NUMBERS = [np.dtype(code) for code in "?bBhHiIlLqQefdgFDG"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(NUMBERS).flatmap(lambda dtype: arrays.from_dtype(dtype))
)
plain_arrays = st.sampled_from(NUMBERS).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
values = st.recursive(
    scalars | plain_arrays | st.binary() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.dictionaries(st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


class Echoes(Counting):
    def give_back(self, value: Any) -> Any:
        return value


class Colour(enum.IntEnum):
    RED = 1


class Special(float):
    note = "kept"


@pytest.fixture(scope="module")
def far() -> Iterator[Any]:
    """A pool whose only env lives in another process."""
    with envpool_wrap.from_env_fns([lambda: Echoes(0)], backend="process", caller_steps=False) as pool:
        yield pool


def assert_same(found: Any, sent: Any) -> None:
    if not isinstance(sent, np.generic):  # `long` and `long long` are two types of one size
        assert type(found) is type(sent)
    if isinstance(sent, dict):
        assert list(found) == list(sent)
        for key, value in sent.items():
            assert_same(found[key], value)
    elif isinstance(sent, list | tuple):
        assert len(found) == len(sent)
        for one, other in zip(found, sent, strict=True):
            assert_same(one, other)
    elif isinstance(sent, np.ndarray | np.generic):
        assert (found.dtype, found.shape) == (sent.dtype, sent.shape)
        np.testing.assert_array_equal(found, sent)
        assert not isinstance(found, np.ndarray) or found.flags.writeable
    else:
        assert found == sent or found != found


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_any_value_comes_back_with_its_types(far: Any, value: Any) -> None:
    assert_same(far.call("give_back", value)[0], value)


@pytest.mark.parametrize(
    "value",
    [
        2**63 - 1,
        -(2**63),
        2**63,
        "a\ud800",
        "\0",
        Colour.RED,
        Special(1.5),
        collections.OrderedDict(a=1),
        np.arange(6).reshape(2, 3).T,
        np.arange(6)[::2],
        np.array([1, 2], ">i4"),
        np.array(["text", None], object),
        np.array(["text"]),
        np.datetime64("2020-01-01"),
        np.float64(1.5),
        {"deep": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]},
        {1: 2},
        {"": {}},
    ],
    ids=repr,
)
def test_what_is_special_comes_back_too(far: Any, value: Any) -> None:
    assert_same(far.call("give_back", value)[0], value)


def test_a_failure_after_plain_letters_is_a_failure(far: Any) -> None:
    for _ in range(3):
        assert far.call("give_back", {"a": 1.0}) == ({"a": 1.0},)
        with pytest.raises(AttributeError, match="no_such"):
            far.call("no_such")
