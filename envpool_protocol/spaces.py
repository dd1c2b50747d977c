"""gymnasium's and old gym's spaces: read as typed leaves, written down as JSON, made again.

    space_spec(space, "obs")            leaves and tree
    space_description(space)            the space itself, bounds included, as JSON
    space_from_description(d, library)  and back
    space_bounds(d)                     which values its leaves may have

Spaces are recognised by class name, so neither library is imported before a space is made here. One row of
`_LEAVES` is all that is known of a kind of space.
"""

from __future__ import annotations

import base64
import importlib
import reprlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envpool_protocol.errors import SpecError
from envpool_protocol.spec import DTYPES, DType, Key, Leaf, Node, SpaceSpec


def space_spec(space: Any, root: str) -> SpaceSpec:
    """The typed leaves and the tree of a gymnasium or old gym space.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, Text, or Dict and Tuple of these to any depth.
        root: `obs` or `action`, the name of the root and the prefix of all others.

    Raises:
        SpecError: not a space, a space or dtype that is not supported, an empty Dict or Tuple, keys that
            are not str or that give two leaves one name, bounds that make no sense. It names the place.
    """
    leaves: dict[str, Leaf] = {}
    owners: dict[str, int] = {}
    nodes: list[Node] = []

    def path(index: int) -> str:
        node = nodes[index]
        return root if node.parent < 0 else f"{path(node.parent)}[{node.key!r}]"

    def visit(space: Any, name: str, parent: int, key: Key) -> int:
        kind, index = _kind(space, name), len(nodes)
        if kind in _LEAVES:
            nodes.append(Node(index, "leaf", parent, key, len(leaves)))
            if name in leaves:
                both = f"{path(owners[name])} and {path(index)}"
                raise SpecError(f"{both} would both be the leaf {name!r}: rename a key that has a '.' in it")
            leaves[name], owners[name] = _leaf(kind, space, name), index
        else:
            nodes.append(Node(index, "dict" if kind == "Dict" else "tuple", parent, key, -1))
            inside = _children(kind, space, name)
            children = tuple(visit(child, f"{name}.{key}", index, key) for key, child in inside)
            nodes[index] = replace(nodes[index], children=children)
        return index

    visit(space, root, -1, None)
    return SpaceSpec(tuple(leaves.values()), tuple(nodes))


def space_description(space: Any, root: str = "space") -> dict[str, Any]:
    """A space, bounds included, as plain JSON values. Arrays are exact: base64 of little-endian bytes.

    Raises:
        SpecError: as `space_spec`; `root` is what its message calls the space.
    """
    kind = _kind(space, root)
    if kind in _LEAVES:
        dtype, shape = _stored(kind, space, root)
        facts = {"space": kind, "dtype": dtype.name, "shape": list(shape)}
        return facts | _LEAVES[kind].describe(space, dtype)
    inside = _children(kind, space, root)
    return {"space": kind, "spaces": [[key, space_description(s, f"{root}.{key}")] for key, s in inside]}


def space_from_description(description: Mapping[str, Any], library: Literal["gymnasium", "gym"]) -> Any:
    """A space of `library` with the described shape, dtype and bounds, in the described order.

    Old gym has no word for two things: a Discrete there is int64, and a MultiDiscrete with a `start` comes
    back as the integer Box of the same values.
    """
    spaces, kind = importlib.import_module(f"{library}.spaces"), description["space"]
    if kind in _LEAVES:
        return _LEAVES[kind].make(spaces, DTYPES[description["dtype"]], description)
    children = [(key, space_from_description(child, library)) for key, child in description["spaces"]]
    if kind == "Tuple":
        return spaces.Tuple([child for _, child in children])
    space = spaces.Dict(OrderedDict(children))
    space.sort_keys = False  # else gymnasium's batch_space would sort what is in its own order here
    return space


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


def space_bounds(description: Mapping[str, Any]) -> list[Bounds | None]:
    """For each leaf of a described space, in their order: its bounds, or None where it holds any value.

    No value that NaN compares to is within bounds, so floats without bounds have Bounds all the same.
    """
    kind = description["space"]
    if kind not in _LEAVES:
        return [bounds for _, child in description["spaces"] for bounds in space_bounds(child)]
    dtype = DTYPES["int64" if kind == "Discrete" else description["dtype"]]
    bounds = _LEAVES[kind].bounds(dtype, description)
    return [None if bounds == Bounds() and dtype.numpy.kind != "f" else bounds]


def leaf_spaces(space: Any) -> list[Any]:
    """The spaces of the leaves below `space`, in the order of the leaves."""
    kind = _kind(space, "space")
    return (
        [space]
        if kind in _LEAVES
        else [leaf for _, child in _children(kind, space, "space") for leaf in leaf_spaces(child)]
    )


# How one space is read, written down and made again.


class _LeafSpace(NamedTuple):
    counts: Callable[[Any], Any] | None  # how many values are allowed, from `start` on; None: it has bounds
    describe: Callable[[Any, DType], dict[str, Any]]  # all but dtype and shape
    make: Callable[[Any, DType, Mapping[str, Any]], Any]  # from the library's `spaces` module
    bounds: Callable[[DType, Mapping[str, Any]], Bounds]


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


def extremes(dtype: DType) -> tuple[Any, Any]:
    """The bounds of a Box that bound nothing."""
    if dtype.numpy.kind in "bf":
        return (False, True) if dtype.numpy.kind == "b" else (-np.inf, np.inf)
    return np.iinfo(dtype.name).min, np.iinfo(dtype.name).max


def _range(dtype: DType, low: Any, high: Any) -> Bounds:
    first, last = (np.asarray(end, dtype.numpy).tobytes() for end in (low, high))
    return Bounds(first, last)


def _multi_discrete_bounds(dtype: DType, d: Mapping[str, Any]) -> Bounds:
    nvec, start = (_unpack(d[key], dtype, d["shape"]) for key in ("nvec", "start"))
    return _range(dtype, start, start + (nvec - 1))


_LEAVES = {
    "Box": _LeafSpace(
        None,
        lambda space, dtype: (
            _arrays(space, dtype, "low", "high")
            | _arrays(space, DTYPES["bool"], "bounded_below", "bounded_above")
        ),
        _make_box,
        _box_bounds,
    ),
    "Discrete": _LeafSpace(
        lambda space: space.n,
        lambda space, _: {"n": int(space.n), "start": int(getattr(space, "start", 0))},
        _make_discrete,
        lambda dtype, d: _range(dtype, d["start"], d["start"] + d["n"] - 1),
    ),
    "MultiDiscrete": _LeafSpace(
        lambda space: space.nvec,
        lambda space, dtype: _arrays(space, dtype, "nvec", "start"),
        _make_multi_discrete,
        _multi_discrete_bounds,
    ),
    "MultiBinary": _LeafSpace(
        lambda _: 2,
        lambda space, _: {"n": list(space.n) if isinstance(space.n, tuple) else int(space.n)},
        lambda spaces, _, d: spaces.MultiBinary(d["n"]),
        lambda dtype, _: _range(dtype, 0, 1),
    ),
    "Text": _LeafSpace(
        None,
        lambda space, _: {
            "min_length": int(space.min_length),
            "charset": "".join(sorted(space.character_set)),  # a set has another order in another process
        },
        _make_text,
        lambda _, d: Bounds(characters=d["charset"], min_length=d["min_length"]),
    ),
}
_CONTAINERS: dict[str, Callable[[Any], Iterable[tuple[Any, Any]]]] = {
    "Dict": lambda space: space.spaces.items(),
    "Tuple": lambda space: enumerate(space.spaces),
}
_INSTEAD = {
    "Sequence": "a Dict of a Box with the greatest length as its first axis and a Discrete for the length",
    "Graph": "a Dict of Boxes for nodes, edges and edge_links, padded to a fixed size, and their counts",
    "OneOf": "a Dict of all the choices and a Discrete that says which one holds",
    "Space of str": "Text, with the max_length of the longest and a charset of all characters; for an env "
    "that is not yours, gymnasium.wrappers.TransformObservation declares it",
    "Space": f"one of {', '.join([*_LEAVES, *_CONTAINERS])}, or a subclass of one",
}
_ATTRIBUTE = {"obs": "observation_space", "action": "action_space", "info": "info_space"}


def _kind(space: Any, name: str) -> str:
    """The name of the library class that `space` is an instance of: a key of _LEAVES or _CONTAINERS."""
    for cls in type(space).__mro__:
        if cls.__module__.partition(".")[0] not in ("gymnasium", "gym"):
            continue
        if cls.__name__ in _LEAVES or cls.__name__ in _CONTAINERS:
            return cls.__name__
        if cls.__name__ in _INSTEAD:
            is_str = cls.__name__ == "Space" and getattr(space.dtype, "kind", "") == "U"
            given, instead = type(space).__name__, _INSTEAD["Space of str" if is_str else cls.__name__]
            raise SpecError(f"{name}: the space {given} is not supported yet; use instead {instead}")
    given = "None" if space is None else f"the {type(space).__name__} {reprlib.repr(space)}"
    if isinstance(space, type):
        given = f"the class {space.__name__}, not an instance of it"
    attribute = _ATTRIBUTE.get(name.partition(".")[0], "observation_space")
    example = f"`self.{attribute} = gymnasium.spaces.Box(...)` in __init__"
    raise SpecError(f"{name}: got {given}; expected a gymnasium or gym space, such as {example}")


def _leaf(kind: str, space: Any, name: str) -> Leaf:
    dtype, shape = _stored(kind, space, name)
    counts = _LEAVES[kind].counts
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
    if low and not _holds(dtype, min(low), max(high)):  # the libraries do not check start + n
        fault = f"the values {min(low)}..{max(high)} of this {kind} do not fit {dtype.name}"
        raise SpecError(f"{name}: {fault}; use a smaller start or n, or a wider integer dtype")
    if kind == "Discrete":
        return Leaf(name, dtype, shape, "discrete", low[0], high[0])
    return Leaf(name, dtype, shape, "array", low, high)


def _holds(dtype: DType, low: int, high: int) -> bool:
    return dtype.numpy.kind in "iu" and np.iinfo(dtype.name).min <= low <= high <= np.iinfo(dtype.name).max


def _stored(kind: str, space: Any, name: str) -> tuple[DType, tuple[int, ...]]:
    """How one value lies in memory."""
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


def _children(kind: str, space: Any, name: str) -> list[tuple[Any, Any]]:
    inside = list(_CONTAINERS[kind](space))
    if not inside:
        raise SpecError(f"{name}: the {kind} space is empty; give it at least one space, or leave it out")
    for key, _ in inside:
        if kind == "Dict" and not isinstance(key, str):
            raise SpecError(f"{name}: Dict keys must be str, got {key!r} of type {type(key).__name__}")
    # the bare str of a key that is also an Enum member, whose f"{key}" would be its name
    return [(str.__str__(key) if kind == "Dict" else key, child) for key, child in inside]


def _pack(array: Any, dtype: DType) -> str:
    """The bytes of `array`, or of its first element if all are the same: a camera's bounds are short."""
    raw = np.asarray(array, dtype.numpy.newbyteorder("<")).tobytes()
    first = raw[: dtype.itemsize]
    return base64.b64encode(first if raw == first * np.size(array) else raw).decode()


def _unpack(text: str, dtype: DType, shape: Iterable[int]) -> NDArray[Any]:
    return np.resize(_native(text, dtype), tuple(shape))


def _native(text: str, dtype: DType) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype.numpy.newbyteorder("<")).astype(dtype.numpy)
