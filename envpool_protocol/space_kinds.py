"""The kinds of spaces that are leaves: how each is read, written down as JSON, made again and bounded.

One row of `LEAVES` is all that is known of a kind. The tree above the leaves is that of spaces.py.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envpool_protocol.errors import SpecError
from envpool_protocol.spec import DTYPES, DType, Leaf


class Bounds(NamedTuple):
    """Which values a leaf may have, both ends included. Bytes are values of the leaf's dtype.

    Attributes:
        low, high: one value for all elements, or one for each; empty: no bound.
        characters, min_length: of Text.
    """

    low: bytes = b""
    high: bytes = b""
    characters: str = ""
    min_length: int = 0


def extremes(dtype: DType) -> tuple[Any, Any]:
    """The bounds of a Box that bound nothing."""
    if dtype.numpy.kind in "bf":
        return (False, True) if dtype.numpy.kind == "b" else (-np.inf, np.inf)
    return np.iinfo(dtype.name).min, np.iinfo(dtype.name).max


class LeafSpace(NamedTuple):
    """A kind of space.

    Attributes:
        counts: how many values a space allows, from its `start` on; None: it has other bounds.
        describe: a space of a dtype as JSON, all but dtype and shape.
        make: a space from the library's `spaces` module, its dtype and its description.
        bounds: of a dtype and a description.
    """

    counts: Callable[[Any], Any] | None
    describe: Callable[[Any, DType], dict[str, Any]]
    make: Callable[[Any, DType, Mapping[str, Any]], Any]
    bounds: Callable[[DType, Mapping[str, Any]], Bounds]


def leaf_of(kind: str, space: Any, name: str) -> Leaf:
    """The leaf `name` of a space of this kind.

    Raises:
        SpecError: a dtype that is not supported, or bounds that make no sense.
    """
    dtype, shape = stored(kind, space, name)
    counts = LEAVES[kind].counts
    if kind == "Text":
        return Leaf(name, dtype, shape, "text")
    if kind == "Discrete":
        dtype = DTYPES["int64"]
    if counts is None:
        if not np.all(space.low <= space.high):  # old gym lets these pass
            raise SpecError(f"{name}: Box needs low <= high and no NaN; use -inf and inf for no bound")
        return Leaf(name, dtype, shape, "array")
    starts, each = (np.broadcast_to(v, shape).flat for v in (getattr(space, "start", 0), counts(space)))
    low = tuple(int(start) for start in starts)
    high = tuple(start + int(n) - 1 for start, n in zip(low, each, strict=True))
    holder = DTYPES["int64"] if dtype.name == "uint64" else dtype  # the engine's limits are int64
    if low and not _holds(holder, min(low), max(high)):  # the libraries do not check start + n
        fault = f"the values {min(low)}..{max(high)} of this {kind} do not fit {holder.name}"
        raise SpecError(f"{name}: {fault}; use a smaller start or n, or a wider integer dtype")
    if kind == "Discrete":
        return Leaf(name, dtype, shape, "discrete", low[0], high[0])
    return Leaf(name, dtype, shape, "array", low, high)


def _holds(dtype: DType, low: int, high: int) -> bool:
    return dtype.numpy.kind in "iu" and np.iinfo(dtype.name).min <= low <= high <= np.iinfo(dtype.name).max


def stored(kind: str, space: Any, name: str) -> tuple[DType, tuple[int, ...]]:
    """dtype and shape of one value as it lies in memory. Raises SpecError, as `leaf_of`."""
    if kind != "Text":
        return _dtype(space, name), tuple(space.shape)
    if space.max_length < 1:
        raise SpecError(f"{name}: {space!r} holds nothing but ''; use a max_length of at least 1")
    return DTYPES["uint32"], (int(space.max_length),)


def _dtype(space: Any, name: str) -> DType:
    dtype = np.dtype(space.dtype)
    if dtype.name not in DTYPES:  # a wrong-endian dtype has the same name as the native one
        kind, known = type(space).__name__, ", ".join(DTYPES)
        raise SpecError(f"{name}: {kind} has dtype {dtype.name}, which is not supported; use one of {known}")
    return DTYPES[dtype.name]


# The rows, and what they are made of.


def _arrays(space: Any, dtype: DType, *names: str) -> dict[str, str]:
    return {name: _pack(getattr(space, name, 0), dtype) for name in names}  # 0: old gym may have no start


def _make_box(spaces: Any, dtype: DType, d: Mapping[str, Any]) -> Any:
    low, high = (_unpack(d[key], dtype, d["shape"]) for key in ("low", "high"))
    space = spaces.Box(low, high, low.shape, dtype.numpy)
    for key in ("bounded_below", "bounded_above"):  # low and high of an int Box do not show an infinity
        setattr(space, key, _unpack(d[key], DTYPES["bool"], d["shape"]))
    return space


def _make_discrete(spaces: Any, dtype: DType, d: Mapping[str, Any]) -> Any:
    typed = spaces.__name__ == "gymnasium.spaces" and dtype.name != "int64"
    return spaces.Discrete(d["n"], start=d["start"], **({"dtype": dtype.numpy} if typed else {}))


def _make_multi_discrete(spaces: Any, dtype: DType, d: Mapping[str, Any]) -> Any:
    nvec, start = (_unpack(d[key], dtype, d["shape"]) for key in ("nvec", "start"))
    if not start.any():
        return spaces.MultiDiscrete(nvec, dtype.numpy)
    if spaces.__name__ == "gym.spaces":
        return spaces.Box(start, start + (nvec - 1), nvec.shape, dtype.numpy)
    return spaces.MultiDiscrete(nvec, dtype.numpy, start=start)


def _make_text(spaces: Any, _: DType, d: Mapping[str, Any]) -> Any:
    if not hasattr(spaces, "Text"):
        raise SpecError("the gym that is installed has no Text space; use env_type='gymnasium', or gym 0.26")
    return spaces.Text(d["shape"][0], min_length=d["min_length"], charset=d["charset"])


def _box_bounds(dtype: DType, d: Mapping[str, Any]) -> Bounds:
    low, high = (_native(d[key], dtype) for key in ("low", "high"))
    least, most = extremes(dtype)
    return Bounds(
        low=b"" if (low == least).all() else low.tobytes(),
        high=b"" if (high == most).all() else high.tobytes(),
    )


def _range(dtype: DType, low: Any, high: Any) -> Bounds:
    first, last = (np.asarray(end, dtype.numpy).tobytes() for end in (low, high))
    return Bounds(first, last)


def _multi_discrete_bounds(dtype: DType, d: Mapping[str, Any]) -> Bounds:
    nvec, start = (_unpack(d[key], dtype, d["shape"]) for key in ("nvec", "start"))
    return _range(dtype, start, start + (nvec - 1))


LEAVES = {
    "Box": LeafSpace(
        None,
        lambda space, dtype: (
            _arrays(space, dtype, "low", "high")
            | _arrays(space, DTYPES["bool"], "bounded_below", "bounded_above")
        ),
        _make_box,
        _box_bounds,
    ),
    "Discrete": LeafSpace(
        lambda space: space.n,
        lambda space, _: {"n": int(space.n), "start": int(getattr(space, "start", 0))},
        _make_discrete,
        lambda dtype, d: _range(dtype, d["start"], d["start"] + d["n"] - 1),
    ),
    "MultiDiscrete": LeafSpace(
        lambda space: space.nvec,
        lambda space, dtype: _arrays(space, dtype, "nvec", "start"),
        _make_multi_discrete,
        _multi_discrete_bounds,
    ),
    "MultiBinary": LeafSpace(
        lambda _: 2,
        lambda space, _: {"n": list(space.n) if isinstance(space.n, tuple) else int(space.n)},
        lambda spaces, _, d: spaces.MultiBinary(d["n"]),
        lambda dtype, _: _range(dtype, 0, 1),
    ),
    "Text": LeafSpace(
        None,
        lambda space, _: {
            "min_length": int(space.min_length),
            "charset": "".join(sorted(space.character_set)),  # a set has another order in another process
        },
        _make_text,
        lambda _, d: Bounds(characters=d["charset"], min_length=d["min_length"]),
    ),
}


def _pack(array: Any, dtype: DType) -> str:
    """The bytes of `array`, or of its first element if all are the same: a camera's bounds are short."""
    raw = np.asarray(array, dtype.numpy.newbyteorder("<")).tobytes()
    first = raw[: dtype.itemsize]
    return base64.b64encode(first if raw == first * np.size(array) else raw).decode()


def _unpack(text: str, dtype: DType, shape: Iterable[int]) -> NDArray[Any]:
    return np.resize(_native(text, dtype), tuple(shape))


def _native(text: str, dtype: DType) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype.numpy.newbyteorder("<")).astype(dtype.numpy)
