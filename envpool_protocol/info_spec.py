"""Declared info: the `info_space` of an env, as leaves beside those of its observation.

Each place of its tree but the root has a mask besides, a bool leaf that says in which rows the env's info had
it: `_info.x` for `info.x`. C++ walks the tree as one table (cpp_core/py_info.h).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from envpool_protocol.errors import SpecError
from envpool_protocol.spaces import space_spec
from envpool_protocol.spec import DTYPES, Leaf, SpaceSpec

ENGINE_KEYS = ("env_id", "players", "elapsed_step", "final_obs", "final_info")


def declared_info_space(env: Any) -> Any:
    """The `info_space` of an env, or of the one nearest to the outside that its wrappers wrap; else None."""
    while True:
        space = getattr(env, "info_space", None)
        if space is not None or not _is_wrapper(type(env)):
            return space
        env = env.env


def _is_wrapper(cls: type) -> bool:
    return any(
        b.__name__ == "Wrapper" and b.__module__ in ("gymnasium.core", "gym.core") for b in cls.__mro__
    )


def info_spec(space: Any) -> SpaceSpec:
    """The leaves and the tree of an `info_space`.

    Raises:
        SpecError: it is not a Dict of spaces and Dicts, or has keys that the pool uses.
    """
    spec = space_spec(space, "info")
    if spec.nodes[0].kind != "dict":
        raise SpecError(
            f"info_space: expected a Dict with a space for each key of the info, got {space!r:.80}"
        )
    for node in spec.nodes:
        if node.kind == "tuple":
            raise SpecError(f"{spec.names('info')[node.index]}: Tuple has no place in info; use a Dict")
        keys = [spec.nodes[child].key for child in node.children]
        masks = [key for key in keys if f"_{key}" in keys]
        if masks:
            raise SpecError(
                f"info_space: the key '_{masks[0]}' is the name of the mask of {masks[0]!r}; rename it"
            )
    taken = [key for key in ENGINE_KEYS if key in (spec.nodes[child].key for child in spec.nodes[0].children)]
    if taken:
        raise SpecError(f"info_space: the pool itself writes the key {taken[0]!r}; rename it")
    twice = [name for name, times in Counter(spec.names("info")).items() if times > 1]
    if twice:
        raise SpecError(f"info_space: two keys give {twice[0]!r}; rename a key that has a '.' in it")
    return spec


def masks_of(spec: SpaceSpec) -> tuple[Leaf, ...]:
    """One mask for each place but the root, in the order of the nodes."""
    return tuple(Leaf(f"_{name}", DTYPES["bool"], (), "array") for name in spec.names("info")[1:])


@dataclass(frozen=True)
class InfoNode:
    """One row of the table that C++ walks, in pre-order.

    Attributes:
        key: in its parent; None for the root.
        place: its name for messages.
        leaf: number of its leaf, -1 for a dict.
        end: the first node that is not below this one.
    """

    key: str | None
    place: str
    leaf: int
    end: int


def info_table(spec: SpaceSpec) -> list[InfoNode]:
    """The nodes of a declared info as C++ needs them."""
    ends: dict[int, int] = {}
    for node in reversed(spec.nodes):
        ends[node.index] = ends[node.children[-1]] if node.children else node.index + 1
    return [
        InfoNode(None if node.key is None else str(node.key), name, node.leaf, ends[node.index])
        for node, name in zip(spec.nodes, spec.names("info"), strict=True)
    ]
