"""`info` of a batch, from what each row's env returned.

    "auto"   Gymnasium's layout: per key an array over rows, and a mask `_key` of who has it
    "list"   a list with one dict per row, as SB3 has it
    "none"   what envs return is dropped by their workers

Gymnasium's layout follows `gymnasium.vector.VectorEnv`: numbers become arrays, zero where a row has no such
key; arrays of one shape are stacked; dicts nest; anything else is an object array with None. Where that would
lose something (a float after an int in the first row, arrays of several shapes), it is kept here: a dtype
that holds all, or an object array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from envpool_protocol import _core
from envpool_protocol.info_spec import masks_of
from envpool_protocol.spec import Node, SpaceSpec

Rows = Sequence[dict[str, Any] | None] | None


class Infos:
    """Gymnasium's layout. A face starts an info from the rows, adds its own keys, and finishes it."""

    def start(self, rows: Rows) -> dict[str, Any]:
        """Info by key; `rows` is None when no row has any."""
        return batch_infos(rows) if rows else {}

    def finish(self, info: dict[str, Any], rows: int) -> Any:
        """What the user gets, of so many rows."""
        return info

    def widen(self, finished: Any, ids: Any, rows: int) -> dict[str, Any]:
        """The start of an info of so many rows, from a finished one whose rows become the rows `ids`."""
        wide: dict[str, Any] = {}
        for key, column in finished.items():
            if isinstance(column, dict):
                wide[key] = self.widen(column, ids, rows)
            else:
                empty = None if column.dtype == object else np.zeros((), column.dtype)
                wide[key] = np.full((rows, *column.shape[1:]), empty, column.dtype)
                wide[key][ids] = column
        return wide


class ListedInfos(Infos):
    """A list of dicts: what the env returned is in them as it is, all else is added."""

    def start(self, rows: Rows) -> dict[str, Any]:
        return _Unbatched(rows)

    def finish(self, info: dict[str, Any], rows: int) -> Any:
        unbatched = (info.rows if isinstance(info, _Unbatched) else None) or [None] * rows
        columns = {key: column for key, column in info.items() if key != "players"}
        if not columns:
            return [dict(own) if own else {} for own in unbatched]
        return [listed_row(own, columns, row) for row, own in enumerate(unbatched)]

    def widen(self, finished: Any, ids: Any, rows: int) -> dict[str, Any]:
        wide: list[Any] = [None] * rows
        for row, info in zip(ids, finished, strict=True):
            wide[row] = info
        return self.start(wide)


LAYOUTS: dict[str, Infos] = {"auto": Infos(), "list": ListedInfos(), "none": Infos()}


class _Unbatched(dict[str, Any]):
    """Info by key, and apart from it what each row's env returned."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows


def listed_row(own: dict[str, Any] | None, columns: dict[str, Any], row: int) -> dict[str, Any]:
    """A new dict of what the env returned, if anything, and of its row of an info in Gymnasium's layout."""
    merged: dict[str, Any] = _merged(own or {}, _row_of(columns, row))
    return merged


def _merged(own: Any, added: Any) -> Any:
    if not (isinstance(own, dict) and isinstance(added, dict)):
        return added
    return {**own, **{key: _merged(own.get(key), value) for key, value in added.items()}}


def _row_of(columns: dict[str, Any], row: int) -> dict[str, Any]:
    """The part of one row of an info in Gymnasium's layout."""
    masks = {key: columns.get(f"_{key}") for key in columns if not (key[:1] == "_" and key[1:] in columns)}
    return {key: _at(columns[key], row) for key, mask in masks.items() if mask is None or mask[row]}


def _at(column: Any, row: int) -> Any:
    if isinstance(column, dict):
        return _row_of(column, row)
    if isinstance(column, tuple):
        return tuple(_at(member, row) for member in column)
    value = column[row]
    return value.item() if isinstance(value, np.generic) else value


class DeclaredInfo:
    """The info that an env declares: typed leaves of the batch, `None` where it declares none.

    Attributes:
        names: of the leaves, values first, then masks.
    """

    def __init__(self, spec: SpaceSpec | None) -> None:
        self._spec = spec
        self.names = [leaf.name for leaf in (*spec.leaves, *masks_of(spec))] if spec else []

    def builder(self, first: int) -> Callable[[Sequence[Any], dict[str, Any]], None]:
        """`f(leaves, info)` that adds the declared info to `info`; its leaves are from `first` on."""
        spec = self._spec
        if spec is None:
            return lambda leaves, info: None
        first_mask = first + len(spec.leaves)

        def add(node: Node, leaves: Sequence[Any], info: dict[str, Any]) -> None:
            for index in node.children:
                child = spec.nodes[index]
                key = str(child.key)
                if child.kind == "leaf":
                    info[key] = leaves[first + child.leaf]
                else:
                    add(child, leaves, info.setdefault(key, {}))
                info[f"_{key}"] = leaves[first_mask + index - 1]

        return lambda leaves, info: add(spec.nodes[0], leaves, info)


def batch_infos(infos: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """One dict for the whole batch from one dict, or None, per row."""
    batch: dict[str, Any] = {}
    for key, numbers, mask in _core.info_columns(list(infos)):
        if numbers is None:
            values = [info[key] if info and key in info else None for info in infos]
            numbers = _column(values, mask)
        batch[key] = numbers
        batch[f"_{key}"] = mask
    return batch


def _column(values: list[Any], mask: Any) -> Any:
    present = [value for value, there in zip(values, mask, strict=True) if there]
    if all(isinstance(value, dict) for value in present):
        return batch_infos(values)
    stacked = _stacked(present)
    if stacked is not None:
        column = np.zeros((len(values), *stacked.shape[1:]), stacked.dtype)
        column[mask] = stacked
        return column
    column = np.full(len(values), None, dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return column


def _stacked(values: list[Any]) -> Any:
    """An array of numbers, or of arrays of one shape, whose dtype holds them all; None: there is none."""
    if not (_is_number(values[0]) or isinstance(values[0], np.ndarray)):
        return None
    if not all(_is_number(value) or isinstance(value, np.ndarray | np.bool_) for value in values):
        return None
    if len({np.shape(value) for value in values}) > 1:
        return None
    kinds = {np.asarray(value).dtype.kind for value in values}
    if len(kinds) > 1 and not kinds <= set("biufc"):
        return None
    stacked = np.array(values)
    lossy = stacked.dtype.kind in "fc" and kinds <= set("biu")  # ints that no int dtype holds
    return None if lossy or (stacked.dtype.kind == "O" and kinds != {"O"}) else stacked


def _is_number(value: Any) -> bool:
    """Whether Gymnasium makes an array of its type for it. A NumPy bool is an object there."""
    return type(value) in (int, float, bool) or isinstance(value, np.number)
