"""How what a hook returns gets into the leaves of a row: as generated Python, compiled with the hooks.

A value is compared with its place when it is compiled, so that what the interpreter would refuse on every
step is refused here; of an array only the lengths remain to be compared on each call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba.core import types

from envpool_protocol.compiled.arithmetic import fits
from envpool_protocol.compiled.dicts import DictType
from envpool_protocol.compiled.refusals import refuse
from envpool_protocol.spec import Leaf, SpaceSpec

FILE = "<compiled hooks>"


def function(source: str, names: dict[str, Any]) -> Callable[..., Any]:
    """The one function that a text defines."""
    space: dict[str, Any] = {"__name__": "envpool_hooks", **names}
    exec(compile(source, FILE, "exec"), space)
    name = source.partition("(")[0].removeprefix("def ").strip()
    made: Callable[..., Any] = space[name]
    return made


@functools.cache
def copier(shape: tuple[int, ...], given: Any, name: str) -> Callable[..., Any]:
    """`copy(to, value)`: a value of type `given` into an array of this shape. Views are copied first."""
    lines = ["def copy(to, value):"]
    if isinstance(given, types.Array):
        lines += _checked_shape(shape, given, name)
        if given.layout != "C":
            lines.append("    value = value.copy()")
        lines += _loop(shape, "value[{index}]")
    elif isinstance(given, types.BaseTuple):
        lines += _unrolled(shape, given, "value", (), name)
    else:
        lines += _loop(shape, "value")
    return function("\n".join(lines), {})


def _checked_shape(shape: tuple[int, ...], given: Any, name: str) -> list[str]:
    if given.ndim != len(shape):
        raise refuse(f"{name}: an array of {given.ndim} dimensions; expected shape {shape}")
    if not shape:
        return []
    return [
        f"    if value.shape != {shape!r}:",
        f"        raise ValueError({f'{name}: an array of another shape than {shape}'!r})",
    ]


def _loop(shape: tuple[int, ...], value: str) -> list[str]:
    index = ", ".join(f"i{axis}" for axis in range(len(shape))) or "()"
    lines = [f"{'    ' * (axis + 1)}for i{axis} in range({length}):" for axis, length in enumerate(shape)]
    return [*lines, f"{'    ' * (len(shape) + 1)}to[{index}] = {value.format(index=index)}"]


def _unrolled(shape: tuple[int, ...], given: Any, value: str, at: tuple[int, ...], name: str) -> list[str]:
    if not isinstance(given, types.BaseTuple):
        if len(at) != len(shape):
            raise refuse(f"{name}: a tuple of depth {len(at)}; expected shape {shape}")
        return [f"    to[{', '.join(map(str, at))}] = {value}"]
    if len(at) >= len(shape) or len(given.types) != shape[len(at)]:
        raise refuse(f"{name}: a tuple of {len(given.types)}; expected shape {shape}")
    return [
        line
        for index, one in enumerate(given.types)
        for line in _unrolled(shape, one, f"{value}[{index}]", (*at, index), name)
    ]


def leaf_copier(leaf: Leaf, given: Any) -> Callable[..., Any]:
    """`copy(to, value)` for a leaf.

    Raises:
        numba.core.errors.TypingError: a refusal, where the leaf does not take such values.
    """
    given = types.unliteral(given)
    of = given.dtype if isinstance(given, types.Array) else given
    members = list(_members(of))
    if not all(fits(one, leaf.dtype.numpy) for one in members):
        raise refuse(f"{leaf.name}: {given} does not fit {leaf.dtype.name}{list(leaf.shape) or ''}")
    if isinstance(given, types.Array | types.BaseTuple):
        return copier(leaf.shape, given, leaf.name)
    if leaf.shape:
        raise refuse(f"{leaf.name}: a number; expected an array of shape {leaf.shape}")
    return copier((), given, leaf.name)


def _members(given: Any) -> Any:
    if isinstance(given, types.BaseTuple):
        for one in given.types:
            yield from _members(one)
    else:
        yield given


def space_lines(spec: SpaceSpec, given: Any, value: str, root: str) -> tuple[list[str], dict[str, Any]]:
    """The lines of a function that copy `value`, of type `given`, to arrays `leaf0`, …; and their names."""
    lines: list[str] = []
    names: dict[str, Any] = {}

    def visit(index: int, given: Any, value: str, name: str) -> None:
        node = spec.nodes[index]
        if node.kind == "leaf":
            names[f"copy{node.leaf}"] = leaf_copier(spec.leaves[node.leaf], given)
            lines.append(f"    copy{node.leaf}(leaf{node.leaf}, {value})")
            return
        children = {spec.nodes[child].key: child for child in node.children}
        found = _children(given, node.kind, list(children), name)
        for key, child in children.items():
            visit(child, found[key], f"{value}[{key!r}]", f"{name}.{key}")

    visit(0, given, value, root)
    return lines, names


def _children(given: Any, kind: str, keys: list[Any], name: str) -> dict[Any, Any]:
    if kind == "dict":
        if not isinstance(given, DictType):
            raise refuse(
                f"{name}: {given}; expected a dict, written as {{{', '.join(f'{k!r}: ...' for k in keys)}}}"
            )
        if set(given.members) != set(keys):
            raise refuse(
                f"{name}: a dict of {', '.join(given.members)}; expected {', '.join(map(str, keys))}"
            )
        return given.members
    if not isinstance(given, types.BaseTuple) or len(given.types) != len(keys):
        raise refuse(f"{name}: {given}; expected a tuple of {len(keys)}")
    return dict(enumerate(given.types))


def info_lines(spec: SpaceSpec, given: DictType) -> tuple[list[str], dict[str, Any]]:
    """The lines that copy an info to its leaves and set its masks; what the dict lacks is zeros."""
    lines: list[str] = []
    names: dict[str, Any] = {}
    masks = len(spec.leaves) - 1  # node i > 0 has the mask leaf number masks + i

    def visit(index: int, given: Any, value: str, name: str) -> None:
        node = spec.nodes[index]
        if index:
            lines.append(f"    leaf{masks + index}[()] = {given is not None}")
        if node.kind == "leaf":
            if given is None:
                lines.append(f"    leaf{node.leaf}[...] = 0")
                return
            names[f"copy{node.leaf}"] = leaf_copier(spec.leaves[node.leaf], given)
            lines.append(f"    copy{node.leaf}(leaf{node.leaf}, {value})")
            return
        children = {str(spec.nodes[child].key): child for child in node.children}
        if given is not None and not isinstance(given, DictType):
            raise refuse(f"{name}: {given}; expected a dict")
        found = {} if given is None else given.members
        unknown = [key for key in found if key not in children]
        if unknown:
            raise refuse(f"{name}: the key {unknown[0]!r} is not in the info_space; declare it there")
        for key, child in children.items():
            visit(child, found.get(key), f"{value}[{key!r}]", f"{name}.{key}")

    visit(0, given, "info", "info")
    return lines or ["    pass"], names
