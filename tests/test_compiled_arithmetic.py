"""Numbers in compiled hooks are the interpreter's, to the last bit, or an exception, or refused."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driven import Driven
from gymnasium import spaces
from test_compiled_hooks import Plain

pytest.importorskip("numba")

FLOATS = (0.0, -0.0, 1.0, -1.0, 0.1, -0.3, 2.5, -7.25, 3.0, 1e-300, 1e300, math.inf, -math.inf, math.nan)
INTS = (0, 1, -1, 2, -2, 3, -7, 10, 63, 64, 2**31, -(2**31), 2**62, -(2**63) + 1, 2**63 - 1)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type], Driven]:
    folder: Path = tmp_path_factory.mktemp("objects")
    return lambda cls: Driven(cls, folder)


def both(driven: Driven, **given: Any) -> tuple[Any, Any]:
    """What the compiled and the interpreted hook leave in `out`, or the exception that each raised."""

    def interpreted() -> Any:
        out = np.zeros(driven.env.observation_space.shape, driven.env.observation_space.dtype)
        for name, value in given.items():
            setattr(driven.env, name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of divisions by zero
            driven.env._make_obs_envpool(out)
        return out

    def compiled() -> Any:
        for name, value in given.items():
            driven.records[name] = value
        return driven.reset()

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            return type(error), *map(str, error.args)

    return outcome(compiled), outcome(interpreted)


def equal(one: Any, two: Any) -> bool:
    """Bit by bit, but for the bits of a NaN."""
    if isinstance(one, tuple) or isinstance(two, tuple):
        return bool(one == two)
    nan = one != one
    return bool((nan == (two != two)).all()) and one[~nan].tobytes() == two[~nan].tobytes()


def assert_equal(driven: Driven, **given: Any) -> None:
    compiled, interpreted = both(driven, **given)
    assert equal(compiled, interpreted), (given, compiled, interpreted)


class Floats(Plain):
    """Python's arithmetic of two floats, and NumPy's, of numbers and of arrays."""

    observation_space = spaces.Box(-np.inf, np.inf, (15,), np.float64)
    state_envpool = {"x": np.float64, "y": np.float64, "xs": (np.float64, (2,)), "ys": (np.float64, (2,))}

    def _make_obs_envpool(self, out: Any) -> None:  # type: ignore[override]
        out[:] = 0.0
        x, y = self.x, self.y
        self.xs = (x, 1.0)
        self.ys = (y, 0.1)
        out[0:2] = self.xs // self.ys
        out[2:4] = self.xs % self.ys
        out[4] = np.mod(x, y)
        out[5] = np.floor_divide(x, y)
        out[6] = min(x, y)
        out[7] = max(x, y)
        out[8] = x < y or y != y
        out[9] = abs(x) - -y
        out[10] = x or y
        if y != 0.0:
            out[11] = x % y
            out[12] = x // y
            out[13] = x / y
            out[14] = divmod(x, y)[0]


def test_two_floats(drive: Any) -> None:
    driven = drive(Floats)
    for x, y in itertools.product(FLOATS, FLOATS):
        assert_equal(driven, x=x, y=y)


class Singles(Plain):
    """The same of float32."""

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    state_envpool = {"xs": (np.float32, (2,)), "ys": (np.float32, (2,))}

    def _make_obs_envpool(self, out: Any) -> None:  # type: ignore[override]
        out[0:2] = self.xs // self.ys
        out[2:4] = self.xs % self.ys


def test_arrays_of_float32(drive: Any) -> None:
    driven = drive(Singles)
    for x, y in itertools.product(FLOATS, FLOATS):
        with np.errstate(over="ignore"):
            xs, ys = np.array([x, 1.0]).astype(np.float32), np.array([y, 0.1]).astype(np.float32)
        assert_equal(driven, xs=xs, ys=ys)


class Widened(Plain):
    """What Python makes a float of before it computes."""

    observation_space = spaces.Box(-np.inf, np.inf, (9,), np.float64)
    state_envpool = {"xs": (np.float32, (2,))}

    def _make_obs_envpool(self, out: Any) -> None:  # type: ignore[override]
        x, y = self.xs
        out[0] = float(x)
        out[1] = float(x) * float(y)
        out[2] = float(self.xs[0]) / 3
        out[3] = math.sin(x)
        out[4] = math.exp(float(x))
        out[5] = math.atan2(y, x)
        out[6] = math.sqrt(abs(x))
        out[7] = math.floor(x)
        out[8] = math.pow(y, 2)


def test_functions_of_floats_are_of_doubles_whatever_they_are_given(drive: Any) -> None:
    driven = drive(Widened)
    for x, y in itertools.product((0.1, -0.3, 2.5, -7.25, 1e-30), (0.7, 1e20)):
        assert_equal(driven, xs=np.array([x, y], np.float32))


class Ints(Plain):
    """Integers, as long as what comes out has 64 bits."""

    observation_space = spaces.Box(-(2**63), 2**63 - 1, (9,), np.int64)
    state_envpool = {"x": np.int64, "y": np.int64}

    def _make_obs_envpool(self, out: Any) -> None:  # type: ignore[override]
        out[:] = 0
        x, y = self.x, self.y
        out[0] = x & y
        out[1] = x | ~y
        out[2] = x ^ y
        out[3] = min(x, y)
        out[4] = x or y
        out[5] = (x > 0) + (y > 0)
        if y != 0:
            out[6] = x // y
            out[7] = x % y
        out[8] = x >> y


def test_two_integers(drive: Any) -> None:
    driven = drive(Ints)
    for x, y in itertools.product(INTS, INTS):
        assert_equal(driven, x=x, y=y)


class Shifts(Plain):
    observation_space = spaces.Box(-(2**63), 2**63 - 1, (3,), np.int64)
    state_envpool = {"x": np.int64, "by": np.int64}

    def _make_obs_envpool(self, out: Any) -> None:  # type: ignore[override]
        out[0] = self.x >> self.by
        self.x <<= self.by  # cut to 64 bits, as a declared field is
        out[1] = self.x
        self.x >>= self.by
        out[2] = self.x


def test_shifts_by_any_number(drive: Any) -> None:
    driven = drive(Shifts)
    for x, by in itertools.product(INTS, range(-2, 70)):
        assert_equal(driven, x=x, by=by)
    assert both(driven, x=1, by=-1)[0] == (ValueError, "negative shift count")


class Powers(Plain):
    """Of integers: a float in Python where the exponent is negative, which no type of a machine is."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    state_envpool = {"x": np.int64, "y": np.int64}

    def _make_obs_envpool(self, out: Any) -> None:  # type: ignore[override]
        out[0] = self.x**self.y


class Inverse(Powers):
    def _make_obs_envpool(self, out: Any) -> None:  # type: ignore[override]
        out[0] = self.x**-2


def test_a_negative_power_of_an_integer_is_an_error_not_zero(drive: Any) -> None:
    for x, y in itertools.product(range(-5, 6), range(20)):
        assert equal(*both(drive(Powers), x=x, y=y)), (x, y)
    for cls in (Powers, Inverse):
        compiled, interpreted = both(drive(cls), x=2, y=-2)
        assert compiled == (ValueError, "an int to a negative power is a float; write float(x) ** y")
        assert interpreted == 0.25


class Bits(Plain):
    """A uint64 among its own kind, as generators of one's own have them."""

    observation_space = spaces.Box(0, 2**64 - 1, (6,), np.uint64)
    state_envpool = {"h": (np.uint64, (2,))}

    def _make_obs_envpool(self, out: Any) -> None:  # type: ignore[override]
        x, y = self.h[0], self.h[1]
        out[0] = x ^ (x << np.uint64(13))
        out[1] = x >> np.uint64(7)
        out[2] = x * y + y
        out[3] = x // y
        out[4] = x % y
        out[5] = x > y


@pytest.mark.parametrize("x", [1, 2**63 + 12345, 2**64 - 1])
def test_uint64(x: int, drive: Any) -> None:
    compiled, interpreted = both(drive(Bits), h=np.array([x, 10], np.uint64))
    assert equal(compiled, interpreted), (compiled, interpreted)
