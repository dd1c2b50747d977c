"""The declared state of a class: `state_envpool = {"x": np.float64, "grid": (np.uint8, (8, 8)), "arm": Arm}`.

A compiled env is a record of these fields. An interpreted one is an ordinary object that has the declared
arrays and records from the start; scalars it has from when they are first set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from envpool_protocol.errors import ProtocolError
from envpool_protocol.random import Random


def fields_of(cls: type) -> dict[str, Any]:
    """The declared fields by name, empty for a class that declares none."""
    fields: dict[str, Any] = getattr(cls, "state_envpool", {})
    return fields


def is_record(kind: Any) -> bool:
    """Whether a field of this kind is a record of its own: a class that declares its state."""
    return isinstance(kind, type) and hasattr(kind, "state_envpool")


def random_fields(cls: type) -> Iterator[str]:
    """The paths of all generators in the state, such as `random` and `arm.noise`, in order."""
    for name, kind in fields_of(cls).items():
        if isinstance(kind, type) and issubclass(kind, Random):
            yield name
        elif is_record(kind):
            yield from (f"{name}.{path}" for path in random_fields(kind))


def make_fields(cls: type) -> None:
    """Give instances of `cls` the declared fields; it needs no `__init__` then.

    Raises ProtocolError for a declaration that is none.
    """
    if not isinstance(fields_of(cls), Mapping):
        raise ProtocolError(f"{cls.__qualname__}.state_envpool must be a dict, found {fields_of(cls)!r}")
    for name, kind in fields_of(cls).items():
        if not (is_record(kind) or _is_number(kind)):
            fault = "expected a NumPy number type, (type, shape), or a class that declares state_envpool"
            raise ProtocolError(f"{cls.__qualname__}.state_envpool[{name!r}] is {kind!r}; {fault}")
        if isinstance(kind, tuple) or is_record(kind):
            setattr(cls, name, _Made(name, kind))
        elif np.dtype(kind) not in _PYTHONS_OWN:
            setattr(cls, name, _Narrow(name, kind))
    if not any(name in vars(base) for base in cls.__mro__[:-1] for name in ("__init__", "__new__")):
        cls.__init__ = _take_envid  # type: ignore[misc]


def _is_number(kind: Any) -> bool:
    """Whether it is a type of numbers, or of an array of numbers."""
    try:
        return kind is not None and np.dtype(kind).base.kind in "biufc"
    except (TypeError, ValueError):
        return False


_PYTHONS_OWN = (np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_))


class _Made:
    """An array or a record, made when an instance first uses it. (A cached_property cannot be pickled.)"""

    def __init__(self, name: str, kind: Any) -> None:
        self.name, self.kind = name, kind

    def __get__(self, owner: Any, cls: type) -> Any:
        if owner is None:
            return self
        if isinstance(self.kind, tuple):
            dtype, shape = self.kind
            made = np.zeros(shape, dtype)
        else:
            made = self.kind()
        return vars(owner).setdefault(self.name, made)


class _Narrow:
    """A scalar kept in fewer bits than Python's own: rounded when it is set, as in a record."""

    def __init__(self, name: str, dtype: type[np.generic]) -> None:
        self.name, self.dtype = name, np.dtype(dtype).type

    def __get__(self, owner: Any, cls: type) -> Any:
        if owner is None:
            return self
        try:
            return vars(owner)[self.name]
        except KeyError:
            message = f"{cls.__name__!r} object has no attribute {self.name!r}"
            raise AttributeError(message, name=self.name, obj=owner) from None

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner)[self.name] = self.dtype(value).item()


def _take_envid(self: Any, envid: int) -> None:
    """What `__init__` is where a class has none."""
