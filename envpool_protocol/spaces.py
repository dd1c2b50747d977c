"""gymnasium's and old gym's spaces: read as typed leaves, written down as JSON, made again.

    space_spec(space, "obs")            leaves and tree
    space_description(space)            the space itself, bounds included, as JSON
    space_from_description(d, library)  and back
    space_bounds(d)                     which values its leaves may have

Spaces are recognised by class name, so neither library is imported before a space is made here.
"""

from __future__ import annotations

import importlib
import reprlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from envpool_protocol.errors import SpecError
from envpool_protocol.space_kinds import LEAVES, Bounds, leaf_of, stored
from envpool_protocol.spec import DTYPES, Key, Leaf, Node, SpaceSpec


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
        if kind in LEAVES:
            nodes.append(Node(index, "leaf", parent, key, len(leaves)))
            if name in leaves:
                both = f"{path(owners[name])} and {path(index)}"
                raise SpecError(f"{both} would both be the leaf {name!r}: rename a key that has a '.' in it")
            leaves[name], owners[name] = leaf_of(kind, space, name), index
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
    if kind in LEAVES:
        dtype, shape = stored(kind, space, root)
        facts = {"space": kind, "dtype": dtype.name, "shape": list(shape)}
        return facts | LEAVES[kind].describe(space, dtype)
    inside = _children(kind, space, root)
    return {"space": kind, "spaces": [[key, space_description(s, f"{root}.{key}")] for key, s in inside]}


def space_from_description(description: Mapping[str, Any], library: Literal["gymnasium", "gym"]) -> Any:
    """A space of `library` with the described shape, dtype and bounds, in the described order.

    Old gym has no word for two things: a Discrete there is int64, and a MultiDiscrete with a `start` comes
    back as the integer Box of the same values.
    """
    spaces, kind = importlib.import_module(f"{library}.spaces"), description["space"]
    if kind in LEAVES:
        return LEAVES[kind].make(spaces, DTYPES[description["dtype"]], description)
    children = [(key, space_from_description(child, library)) for key, child in description["spaces"]]
    if kind == "Tuple":
        return spaces.Tuple([child for _, child in children])
    space = spaces.Dict(OrderedDict(children))
    # What gymnasium makes of a Dict (batch_space, FilterObservation) has its keys sorted, if this says so.
    space.sort_keys = list(space.spaces) == sorted(space.spaces)
    return space


def space_bounds(description: Mapping[str, Any]) -> list[Bounds | None]:
    """For each leaf of a described space, in their order: its bounds, or None where it holds any value.

    No value that NaN compares to is within bounds, so floats without bounds have Bounds all the same.
    """
    kind = description["space"]
    if kind not in LEAVES:
        return [bounds for _, child in description["spaces"] for bounds in space_bounds(child)]
    dtype = DTYPES["int64" if kind == "Discrete" else description["dtype"]]
    bounds = LEAVES[kind].bounds(dtype, description)
    return [None if bounds == Bounds() and dtype.numpy.kind != "f" else bounds]


def leaf_spaces(space: Any) -> list[Any]:
    """The spaces of the leaves below `space`, in the order of the leaves."""
    kind = _kind(space, "space")
    return (
        [space]
        if kind in LEAVES
        else [leaf for _, child in _children(kind, space, "space") for leaf in leaf_spaces(child)]
    )


# What is what.

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
    "Space": f"one of {', '.join([*LEAVES, *_CONTAINERS])}, or a subclass of one",
}
_ATTRIBUTE = {"obs": "observation_space", "action": "action_space", "info": "info_space"}


def _kind(space: Any, name: str) -> str:
    """The name of the library class that `space` is an instance of: a key of LEAVES or _CONTAINERS."""
    for cls in type(space).__mro__:
        if cls.__module__.partition(".")[0] not in ("gymnasium", "gym"):
            continue
        if cls.__name__ in LEAVES or cls.__name__ in _CONTAINERS:
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


def _children(kind: str, space: Any, name: str) -> list[tuple[Any, Any]]:
    inside = list(_CONTAINERS[kind](space))
    if not inside:
        raise SpecError(f"{name}: the {kind} space is empty; give it at least one space, or leave it out")
    for key, _ in inside:
        if kind == "Dict" and not isinstance(key, str):
            raise SpecError(f"{name}: Dict keys must be str, got {key!r} of type {type(key).__name__}")
    # the bare str of a key that is also an Enum member, whose f"{key}" would be its name
    return [(str.__str__(key) if kind == "Dict" else key, child) for key, child in inside]
