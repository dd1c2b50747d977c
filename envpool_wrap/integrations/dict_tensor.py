"""rlstructures' `DictTensor`: named tensors, one row per env. `td` is tensordict's `TensorDict` of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping
from typing import Any

from envpool_protocol.errors import SpecError
from envpool_wrap.imports import needs

with needs("rlstructures"):
    import torch


class DictTensor:
    """Tensors by name, all with the same number of rows and on one device.

    What returns a DictTensor leaves this one as it is; only `set`, `unset`, `unset_key` and `copy_` change
    it. Tensors are shared, unless a method says that it copies. Without keys there are no rows, and the first
    `set` says how many there are.

    Args:
        tensors: a mapping of names to tensors, or to what `torch.as_tensor` takes; a TensorDict; or None.
            What is nested gets names with a slash: `{"arm": {"joints": t}}` is `{"arm/joints": t}`.

    Raises:
        SpecError: numbers of rows or devices differ, a tensor has no rows, or a value is no tensor.
    """

    __slots__ = ("_rows", "_tensors")

    def __init__(self, tensors: Mapping[str, Any] | None = None) -> None:
        self._tensors = dict(_flat(tensors, "")) if tensors is not None else {}
        self._rows = _rows(self._tensors)

    @classmethod
    def of(cls, tensors: dict[str, Any], rows: int) -> DictTensor:
        """The same, unchecked: of tensors that are known to have so many rows."""
        made = cls.__new__(cls)
        made._tensors, made._rows = tensors, rows
        return made

    @property
    def td(self) -> Any:
        """A TensorDict of the same tensors, of batch size `[n_elems()]`; `unflatten_keys("/")` nests it."""
        with needs("rlstructures"):
            from tensordict import TensorDict
        return TensorDict(self._tensors, [self._rows])

    # ---- what is in it ----

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._tensors.keys()

    def items(self) -> Any:
        """Names and tensors."""
        return self._tensors.items()

    def __getitem__(self, key: str) -> Any:
        return self._tensors[key]

    def __contains__(self, key: object) -> bool:
        return key in self._tensors

    def n_elems(self) -> int:
        """How many rows there are; 0 without keys."""
        return self._rows

    def empty(self) -> bool:
        """Whether there are no keys. With keys, there may still be no rows."""
        return not self._tensors

    def device(self) -> Any:
        """The `torch.device` of the tensors; None without keys."""
        return next((tensor.device for tensor in self._tensors.values()), None)

    def specs(self) -> dict[str, dict[str, Any]]:
        """`size` (of one row) and `dtype` of each tensor."""
        return {key: {"size": tensor.shape[1:], "dtype": tensor.dtype} for key, tensor in self.items()}

    def get(self, keys: Iterable[str], clone: bool = False) -> DictTensor:
        """Some of the tensors, copied if asked for. Raises KeyError."""
        names = [keys] if isinstance(keys, str) else keys
        some = DictTensor({key: self[key] for key in names})
        return some.clone() if clone else some

    # ---- rows ----

    def index(self, index: Any) -> DictTensor:
        """The rows of a tensor, array or list of indices, or of a mask, copied; of one index, that row."""
        rows = torch.atleast_1d(torch.as_tensor(index, device=self.device()))
        if rows.numel() == 0:  # an empty list has no dtype that can index
            rows = rows.long()
        return self._each(lambda tensor: tensor[rows])

    def slice(self, index_from: int, index_to: int | None = None) -> DictTensor:
        """Rows from one index up to the other; without the other, the one row."""
        if index_to is None:
            return self.index(index_from)
        return self._each(lambda tensor: tensor[index_from:index_to])

    def unfold(self) -> list[DictTensor]:
        """One DictTensor per row, each of one row."""
        return [self.slice(row, row + 1) for row in range(self._rows)]

    @staticmethod
    def cat(tensors: Iterable[DictTensor]) -> DictTensor:
        """All rows, in order, copied. Those without keys have none.

        Raises:
            SpecError: not all have the same keys.
        """
        parts = [part for part in tensors if not part.empty()]
        for number, part in enumerate(parts):
            if part.keys() != parts[0].keys():
                both = f"{sorted(parts[0].keys())}, number {number} has {sorted(part.keys())}"
                raise SpecError(f"cat of DictTensors with different keys: the first has {both}")
        keys = parts[0].keys() if parts else ()
        return DictTensor({key: torch.cat([part[key] for part in parts]) for key in keys})

    def copy_(self, source: DictTensor, source_indexes: Any, destination_indexes: Any) -> None:
        """Overwrite rows of this one with rows of `source`, in place.

        Raises:
            SpecError: the numbers of indices differ, or `source` lacks a key.
        """
        here, there = torch.as_tensor(destination_indexes), torch.as_tensor(source_indexes)
        if here.shape != there.shape:
            raise SpecError(f"{tuple(there.shape)} rows to copy to {tuple(here.shape)}; expected as many")
        if not self.keys() <= source.keys():
            raise SpecError(f"source has the keys {sorted(source.keys())}; expected {sorted(self.keys())}")
        for key, tensor in self.items():
            tensor[here] = source[key][there]

    def clone(self) -> DictTensor:
        """A copy."""
        return self._each(lambda tensor: tensor.clone())

    def to(self, device: Any) -> DictTensor:
        """The same on another device. Tensors that are there already are shared."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, function: Callable[[Any], Any]) -> DictTensor:
        made = {key: function(tensor) for key, tensor in self.items()}
        return self.of(made, next((len(tensor) for tensor in made.values()), 0))

    # ---- names ----

    def set(self, key: str, value: Any) -> None:
        """Add a tensor, or replace one. Raises SpecError if rows or device are not those of the others."""
        whole = DictTensor({**self._tensors, key: value})
        self._tensors, self._rows = whole._tensors, whole._rows

    def unset(self, key: str) -> None:
        """Remove a tensor. Raises KeyError."""
        del self._tensors[key]
        self._rows = _rows(self._tensors)

    def unset_key(self, prefix: str) -> None:
        """Remove all tensors whose names begin with `prefix`."""
        for key in [key for key in self.keys() if key.startswith(prefix)]:
            self.unset(key)

    def prepend_key(self, prefix: str) -> DictTensor:
        """`prefix` in front of all names."""
        return DictTensor({prefix + key: tensor for key, tensor in self.items()})

    def truncate_key(self, prefix: str) -> DictTensor:
        """Those whose names begin with `prefix`, without it."""
        return DictTensor(
            {key[len(prefix) :]: tensor for key, tensor in self.items() if key.startswith(prefix)}
        )

    def __add__(self, other: DictTensor) -> DictTensor:
        """The tensors of both. Raises SpecError for a name that is in both."""
        both = sorted(self.keys() & other.keys())
        if both:
            raise SpecError(f"both DictTensors have {both}; take one out with `get`, or rename it")
        return DictTensor({**self._tensors, **other._tensors})

    def __repr__(self) -> str:
        return f"DictTensor({self._tensors})"


def _flat(tensors: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tensors.items():
        name = f"{prefix}{key}"
        if isinstance(value, torch.Tensor):
            yield name, value
        elif hasattr(value, "items"):
            yield from _flat(value, f"{name}/")
        else:
            yield name, _as_tensor(name, value)


def _as_tensor(name: str, value: Any) -> Any:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpecError(f"{name}={value!r:.80}: expected a tensor ({error})") from error


def _rows(tensors: Mapping[str, Any]) -> int:
    """The number of rows that all have."""
    sizes = {key: tensor.shape[0] if tensor.ndim else None for key, tensor in tensors.items()}
    if None in sizes.values():
        without = [key for key, rows in sizes.items() if rows is None]
        raise SpecError(f"{without} have no rows; expected tensors of shape (rows, ...)")
    for what, found in (("rows", sizes), ("device", {key: t.device for key, t in tensors.items()})):
        if len(set(found.values())) > 1:
            told = ", ".join(f"{key}: {value}" for key, value in found.items())
            raise SpecError(f"{what} of tensors in one DictTensor differ: {told}")
    return next((rows for rows in sizes.values() if rows is not None), 0)
