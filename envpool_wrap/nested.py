"""Between a space's tree and the flat list of its leaves. The tree is known, so no call has to discover it.

flatten = flattener(spec); flatten(action) → tuple of leaf values
build = builder(spec);     build(arrays)   → the nested dict or tuple, or the one array
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envpool_protocol.errors import ActionError
from envpool_protocol.spec import Node, SpaceSpec

Flatten = Callable[[Any], tuple[Any, ...]]
Build = Callable[[Sequence[Any]], Any]


def builder(space: SpaceSpec, text: Callable[[Any], Any] | None = None) -> Build:
    """A function that makes the nested value from leaf values, in the order of the leaves.

    Args:
        space: the leaves and the tree.
        text: what to make of the value of a text leaf; None: nothing.
    """
    return _build(space, space.nodes[0], text)


def _build(space: SpaceSpec, node: Node, text: Callable[[Any], Any] | None) -> Build:
    if node.kind == "leaf":
        leaf = node.leaf
        if text is not None and space.leaves[leaf].kind == "text":
            return lambda leaves: text(leaves[leaf])
        return lambda leaves: leaves[leaf]
    members = [(space.nodes[child].key, _build(space, space.nodes[child], text)) for child in node.children]
    if node.kind == "dict":
        return lambda leaves: {key: build(leaves) for key, build in members}
    return lambda leaves: tuple([build(leaves) for _, build in members])


def flattener(space: SpaceSpec) -> Flatten:
    """A function that picks the leaf values out of a nested value.

    The function raises ActionError where the value is not nested as the space is.
    """
    if space.single:
        return lambda value: (value,)
    collect = _collect(space, space.nodes[0], space.leaves[0].name.partition(".")[0])

    def flatten(value: Any) -> tuple[Any, ...]:
        leaves: list[Any] = []
        collect(value, leaves)
        return tuple(leaves)

    return flatten


def _collect(space: SpaceSpec, node: Node, place: str) -> Callable[[Any, list[Any]], None]:
    if node.kind == "leaf":
        return lambda value, leaves: leaves.append(value)
    keys = [space.nodes[child].key for child in node.children]
    members = [
        (key, _collect(space, space.nodes[child], f"{place}.{key}"))
        for key, child in zip(keys, node.children, strict=True)
    ]
    wanted, what = (
        (Mapping, f"a dict with the keys {keys}")
        if node.kind == "dict"
        else (
            (tuple, list),
            f"a tuple of {len(keys)}",
        )
    )

    def collect(value: Any, leaves: list[Any]) -> None:
        fits = isinstance(value, wanted) and len(value) == len(keys)
        if not fits or (node.kind == "dict" and any(key not in value for key in keys)):
            raise ActionError(
                f"{place}: expected {what}, each holding one row per env; found {_found(value)}"
            )
        for key, inner in members:
            inner(value[key], leaves)

    return collect


def _found(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict with the keys {list(value)}"
    size = f" of {len(value)}" if hasattr(value, "__len__") else ""
    return f"{type(value).__name__}{size}"
