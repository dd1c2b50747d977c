"""The declared state of a class: `state_envpool = {"x": np.float64, "grid": (np.uint8, (8, 8)), "arm": Arm}`.

A compiled env is a record of these fields. An interpreted one is an ordinary object that has the declared
arrays and records from the start; scalars it has from when they are first set.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

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
    """Give instances of `cls` its arrays and records, made when first used; it needs no `__init__` then."""
    for name, kind in fields_of(cls).items():
        if isinstance(kind, tuple) or is_record(kind):
            field = cached_property(_Maker(kind))
            field.__set_name__(cls, name)
            setattr(cls, name, field)
    if not any(name in vars(base) for base in cls.__mro__[:-1] for name in ("__init__", "__new__")):
        cls.__init__ = _take_envid  # type: ignore[misc]


class _Maker:
    """Makes the first value of a field."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def __call__(self, owner: Any) -> Any:
        if isinstance(self.kind, tuple):
            dtype, shape = self.kind
            return np.zeros(shape, dtype)
        return self.kind()


def _take_envid(self: Any, envid: int) -> None:
    """What `__init__` is where a class has none."""
