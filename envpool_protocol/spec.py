"""An env as typed leaves: what the generator, the engine and another interpreter know of it.

    DTYPES        one row is all that Python knows of a dtype
    Leaf, Node    one named array, one place in the tree above the leaves
    SpaceSpec     the leaves and the tree of one space
    EnvSpec       two of these, the reward, and how the env is called

`spaces.py` reads them off gymnasium and old gym spaces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import numpy as np

Key = str | int | None
Api = Literal["hooks", "gymnasium", "gym", "dm_env"]


@dataclass(frozen=True)
class DType:
    """A supported dtype. `code` is the engine's enum; rows are only ever added at the end."""

    name: str
    code: int
    cpp_type: str
    itemsize: int

    @property
    def numpy(self) -> np.dtype[Any]:
        """The native NumPy dtype."""
        return np.dtype(self.name)


DTYPES: dict[str, DType] = {
    row.name: row
    for row in (
        DType("bool", 0, "bool", 1),
        DType("int8", 1, "std::int8_t", 1),
        DType("uint8", 2, "std::uint8_t", 1),
        DType("int16", 3, "std::int16_t", 2),
        DType("uint16", 4, "std::uint16_t", 2),
        DType("int32", 5, "std::int32_t", 4),
        DType("uint32", 6, "std::uint32_t", 4),
        DType("int64", 7, "std::int64_t", 8),
        DType("uint64", 8, "std::uint64_t", 8),
        DType("float16", 9, "std::uint16_t", 2),  # storage: C++20 has no half
        DType("float32", 10, "float", 4),
        DType("float64", 11, "double", 8),
    )
}


@dataclass(frozen=True)
class Leaf:
    """One named array of an env.

    Attributes:
        name: the place in the tree, such as `obs`, `obs.camera` or `action.arm.0`.
        dtype, shape: of one env's value; a batch has one more axis in front.
        kind: how a value looks in Python: `array` is an ndarray, `discrete` an int (dtype int64, shape ()),
            `text` a str (its characters as uint32, padded with zeros to shape (max_length,)).
        low, high: the least and greatest allowed value. Discrete: two ints; MultiDiscrete and
            MultiBinary: one int per element, in C order; Box and Text: None (see `space_bounds`).
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    kind: Literal["array", "discrete", "text"]
    low: int | tuple[int, ...] | None = None
    high: int | tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """Elements of one value: 1 for shape (), 0 where an axis is empty."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of one value."""
        return self.size * self.dtype.itemsize

    @property
    def element(self) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """dtype and shape of one value in a batch's array, where text is `<U{max_length}` of shape ()."""
        if self.kind == "text":
            return np.dtype(f"U{self.size}"), ()
        return self.dtype.numpy, self.shape


@dataclass(frozen=True)
class Node:
    """One place of the tree, which is a tuple in pre-order: a parent is before its children.

    Attributes:
        parent: index of the parent, -1 for the root.
        key: the key (Dict) or position (Tuple) in the parent, None for the root.
        leaf: index among the leaves, -1 for a dict or tuple.
        children: indices, in the space's own order.
    """

    index: int
    kind: Literal["leaf", "dict", "tuple"]
    parent: int
    key: Key
    leaf: int
    children: tuple[int, ...] = ()


@dataclass(frozen=True)
class SpaceSpec:
    """The leaves of one space, in pre-order, and the tree above them."""

    leaves: tuple[Leaf, ...]
    nodes: tuple[Node, ...]

    def names(self, root: str) -> list[str]:
        """The name of each node, in their order: `root`, `root.camera`, …"""
        names: list[str] = []
        for node in self.nodes:
            names.append(root if node.parent < 0 else f"{names[node.parent]}.{node.key}")
        return names

    @property
    def single(self) -> bool:
        """Whether the space is one leaf, not a Dict or Tuple."""
        return self.nodes[0].kind == "leaf"


@dataclass(frozen=True)
class EnvSpec:
    """All that a module needs to know of an env.

    Attributes:
        name: the task name without `_wrap`.
        api: how the env is called; C++ has a namespace of that name for each (py_hooks.h, py_envs.h).
        has_truncated, has_info: which optional hooks are to be called; False where there are no hooks.
        obs_takes_out: whether `_make_obs_envpool` is handed the row to write into.
        info: leaves and tree of the declared info, or None (see info_spec.py).
        reset_takes_seed, reset_takes_options: what `reset` may be given. (Hooks are seeded by another one.)
        options_are_env_info: `reset` calls its options `env_info`, as rlstructures does.
    """

    name: str
    obs: SpaceSpec
    action: SpaceSpec
    reward: DType = DTYPES["float32"]
    api: Api = "hooks"
    has_truncated: bool = False
    has_info: bool = False
    obs_takes_out: bool = False
    reset_takes_seed: bool = False
    reset_takes_options: bool = False
    options_are_env_info: bool = False
    info: SpaceSpec | None = None

    @property
    def obs_is_pair(self) -> bool:
        """Whether an observation is a tuple of two with a dict last, and so looks like (obs, info)."""
        nodes = self.obs.nodes
        children = nodes[0].children
        return nodes[0].kind == "tuple" and len(children) == 2 and nodes[children[1]].kind == "dict"

    def describe(self) -> dict[str, Any]:
        """This spec as plain JSON values: equal specs give equal descriptions in every interpreter."""
        description: dict[str, Any] = plain(self)
        return description

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> EnvSpec:
        """The spec that `describe()` came from, also after a trip through JSON."""
        found = dict(description)
        for side in ("obs", "action", "info"):
            if found[side] is None:
                continue
            leaves = ({**_frozen(d), "dtype": DTYPES[d["dtype"]]} for d in found[side]["leaves"])
            nodes = (_frozen(d) for d in found[side]["nodes"])
            found[side] = SpaceSpec(tuple(Leaf(**d) for d in leaves), tuple(Node(**d) for d in nodes))
        return cls(**{**found, "reward": DTYPES[found["reward"]]})


def plain(value: Any) -> Any:
    """A spec, or a part of one, as JSON values."""
    if isinstance(value, DType):
        return value.name
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def _frozen(description: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(item) if isinstance(item, list) else item for key, item in description.items()}
