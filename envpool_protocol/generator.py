"""From an env's description to the C++ sources of its module.

All thinking is done here; the templates only loop and substitute. Every name and string of the user's that
ends up in C++ goes through cpp_text.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envpool_protocol import resources
from envpool_protocol.compiled.hooks import CompiledHooks
from envpool_protocol.cpp_text import c_dtype, c_string, class_names, module_name
from envpool_protocol.errors import SpecError
from envpool_protocol.info_spec import info_table, masks_of
from envpool_protocol.sources import Description
from envpool_protocol.spec import Leaf, Node, SpaceSpec

TEMPLATES = ("env.cc", "module.cc", "CMakeLists.txt")
# Of EnvSpec and EnvpoolModule.
FLAGS = (
    "has_truncated",
    "has_info",
    "obs_takes_out",
    "reset_takes_seed",
    "options_are_env_info",
    "obs_is_pair",
)


@dataclass(frozen=True)
class CppTable:
    """One `constexpr int64_t` array."""

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class CppLeaf:
    """One row of a leaf table, as C++ text. `tables` are the arrays that it points to."""

    name: str
    dtype: str
    kind: str
    ndim: int
    shape: str
    size: int
    nbytes: int
    lows: str
    highs: str
    tables: tuple[CppTable, ...]


@dataclass(frozen=True)
class CppChild:
    """A member of a container: its variable, and the number of its key."""

    var: str
    key: int


@dataclass(frozen=True)
class CppNode:
    """One place of a space's tree, as C++ text.

    Attributes:
        var: the variable that owns its value.
        value: the expression for its value.
        leaf, nbytes: number and bytes of the leaf; -1 and 0 for a container.
        place: the name for error messages, a string literal.
        action_maker: the expression that makes the value of an action.
        out_maker: the expression that makes what an observation is written into.
    """

    var: str
    value: str
    leaf: int
    nbytes: int
    place: str
    children: tuple[CppChild, ...]
    action_maker: str
    out_maker: str


@dataclass(frozen=True)
class CppKey:
    """A key of a Dict or a position in a Tuple; `made` is the expression that makes the Python object."""

    index: int
    made: str


@dataclass(frozen=True)
class CppFlag:
    """One fact of an env; `value` is `true` or `false`."""

    name: str
    value: str


@dataclass(frozen=True)
class CppInfoNode:
    """One row of the table of a declared info; `key` is the number of its key, -1 for the root."""

    key: int
    place: str
    leaf: int
    end: int


@dataclass(frozen=True)
class CppInfo:
    """The declared info, both lists empty where there is none."""

    leaves: list[CppLeaf]
    nodes: list[CppInfoNode]


@dataclass(frozen=True)
class CppSpace:
    """One side of an env: leaves and tree."""

    leaves: list[CppLeaf]
    nodes: list[CppNode]


def render(description: Description, hooks: CompiledHooks | None = None) -> dict[str, str]:
    """The generated sources: file name → text. The same description gives the same text everywhere.

    `hooks` are the compiled ones that are to be linked in, if there are any.

    Raises:
        SpecError: a Dict key is not text that C++ can hold.
    """
    return filled(TEMPLATES, {**_template_values(description), "hooks": hooks.digest if hooks else ""})


def filled(templates: Iterable[str], values: Mapping[str, Any]) -> dict[str, str]:
    """The texts of templates, by their names without `.jinja`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.templates()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return {name: environment.get_template(f"{name}.jinja").render(values) for name in templates}


def _template_values(description: Description) -> dict[str, Any]:
    spec = description.spec
    keys: dict[str | int, int] = {}
    obs = _space(spec.obs, "obs", keys)
    actions = _space(spec.action, "action", keys)
    info = _info(spec.info, keys)
    return {
        "env": spec,
        "task": c_string(spec.name),
        "module": module_name(spec.name),
        "classes": class_names(spec.name),
        "reward": c_dtype(spec.reward),
        "obs": obs,
        "actions": actions,
        "info": info,
        "flags": [CppFlag(flag, str(getattr(spec, flag)).lower()) for flag in FLAGS],
        "keys": [CppKey(index, _made_key(key)) for key, index in keys.items()],
        "env_compiled": description.compiled,
        "description": c_string(json.dumps(description.to_json(), sort_keys=True)),
    }


def _space(space: SpaceSpec, side: str, keys: dict[str | int, int]) -> CppSpace:
    leaves = [_leaf(leaf, f"{side}_{index}") for index, leaf in enumerate(space.leaves)]
    named = zip(space.nodes, space.names(side), strict=True)
    nodes = [_node(node, name, space, keys) for node, name in named]
    return CppSpace(leaves, nodes)


def _info(spec: SpaceSpec | None, keys: dict[str | int, int]) -> CppInfo:
    if spec is None:
        return CppInfo([], [])
    leaves = [_leaf(leaf, f"info_{index}") for index, leaf in enumerate((*spec.leaves, *masks_of(spec)))]
    nodes = [
        CppInfoNode(
            -1 if node.key is None else keys.setdefault(node.key, len(keys)),
            c_string(node.place),
            node.leaf,
            node.end,
        )
        for node in info_table(spec)
    ]
    return CppInfo(leaves, nodes)


def _leaf(leaf: Leaf, prefix: str) -> CppLeaf:
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in leaf.name):
        raise SpecError(
            f"{leaf.name!r} has a NUL or a lone surrogate in it, which C++ cannot hold; rename the key"
        )
    bounds = {
        f"{prefix}_shape": leaf.shape,
        f"{prefix}_lows": _each(leaf.low),
        f"{prefix}_highs": _each(leaf.high),
    }
    tables = tuple(CppTable(name, tuple(values)) for name, values in bounds.items() if values)
    shape, lows, highs = (name if values else "nullptr" for name, values in bounds.items())
    return CppLeaf(
        name=c_string(leaf.name),
        dtype=c_dtype(leaf.dtype),
        kind=f"k{leaf.kind.capitalize()}",
        ndim=len(leaf.shape),
        shape=shape,
        size=leaf.size,
        nbytes=leaf.nbytes,
        lows=lows,
        highs=highs,
        tables=tables,
    )


def _each(bound: int | Sequence[int] | None) -> Sequence[int]:
    return () if bound is None else (bound,) if isinstance(bound, int) else bound


def _node(node: Node, name: str, space: SpaceSpec, keys: dict[str | int, int]) -> CppNode:
    def key_of(child: int) -> int:
        key = space.nodes[child].key
        assert key is not None  # only the root has none
        return keys.setdefault(key, len(keys))

    children = tuple(CppChild(f"node{child}", key_of(child)) for child in node.children)
    leaf = space.leaves[node.leaf] if node.kind == "leaf" else None
    return CppNode(
        var=f"node{node.index}",
        value="obs" if node.parent < 0 else f"node{node.index}.get()",
        leaf=node.leaf,
        nbytes=leaf.nbytes if leaf else 0,
        place=c_string(name),
        children=children,
        action_maker=_maker(node, children, _action_leaf(node, leaf)),
        out_maker=_maker(node, children, f"out_array(call, obs_leaves[{node.leaf}], {node.leaf})"),
    )


def _action_leaf(node: Node, leaf: Leaf | None) -> str:
    if leaf is None:
        return ""
    maker = {"array": "array_action", "discrete": "int_action", "text": "text_action"}[leaf.kind]
    return f"{maker}(call, action_leaves[{node.leaf}], {node.leaf})"


def _maker(node: Node, children: tuple[CppChild, ...], leaf: str) -> str:
    if node.kind == "leaf":
        return leaf
    if node.kind == "dict":
        return "make_dict({" + ", ".join(f"{{keys[{c.key}], {c.var}.get()}}" for c in children) + "})"
    return "make_tuple({" + ", ".join(f"{c.var}.get()" for c in children) + "})"


def _made_key(key: str | int) -> str:
    if isinstance(key, int):
        return f"PyLong_FromLong({key})"
    return f"PyUnicode_FromStringAndSize({c_string(key)}, {len(key.encode())})"
