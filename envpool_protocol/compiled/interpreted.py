"""An interpreted env that declares its state keeps numbers as its record does.

What is assigned to a declared attribute is cast to the declared dtype, and a scalar is read back as Python's
float, int or bool, which is how compiled hooks read it: in double precision and 64 bits. An array is copied
into the attribute's own array, and one that was never assigned is zeros; a record is made at its first use.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from envpool_protocol.compiled.state import FITS, Field, fields_of
from envpool_protocol.random import Random

_KINDS = {bool: "b", int: "i", float: "f"}
_PLAIN = {"b": "b", "i": "i", "u": "i", "f": "f"}


_installed: weakref.WeakSet[type] = weakref.WeakSet()


def install(cls: type) -> None:
    """Make the instances of a class that declares its state, and those in its fields, keep it as records do.

    Raises:
        SpecError: the declaration is none.
    """
    fields = fields_of(cls)
    _installed.add(cls)
    for field in fields.values():
        # Random keeps itself within its words.
        if field.record not in (None, Random, *_installed):
            install(field.record)  # type: ignore[arg-type]
    casts = {name: _cast(cls, field) for name, field in fields.items() if field.is_scalar}
    arrays = {name: field for name, field in fields.items() if field.shape}
    records: dict[str, type] = {name: f.record for name, f in fields.items() if f.record is not None}
    # Not those that were put into a base class.
    plain_set: Any = getattr(cls.__setattr__, "plain", cls.__setattr__)
    own_get: Any = getattr(cls, "__getattr__", None)
    plain_get: Any = getattr(own_get, "plain", own_get)

    def set_attribute(self: Any, name: str, value: Any) -> None:
        cast = casts.get(name)
        if cast is not None:
            plain_set(self, name, cast(value))
        elif name in arrays:
            _fill(cls, arrays[name], getattr(self, name), value)
        else:
            plain_set(self, name, value)

    set_attribute.plain = plain_set  # type: ignore[attr-defined]

    def missing_attribute(self: Any, name: str) -> Any:
        if name in arrays:
            object.__setattr__(self, name, np.zeros(arrays[name].shape, arrays[name].dtype))
        elif name in records:
            object.__setattr__(self, name, records[name]())
        elif plain_get is not None:
            return plain_get(self, name)
        elif name in casts:
            raise AttributeError(
                f"{cls.__qualname__}.{name} is declared, and was never set", name=name, obj=self
            )
        else:
            raise AttributeError(
                f"{type(self).__qualname__!r} object has no attribute {name!r}", name=name, obj=self
            )
        return object.__getattribute__(self, name)

    missing_attribute.plain = plain_get  # type: ignore[attr-defined]
    cls.__setattr__ = set_attribute  # type: ignore[method-assign, assignment]
    cls.__getattr__ = missing_attribute  # type: ignore[attr-defined]
    is_env = hasattr(cls, "_step_envpool")
    if is_env and cls.__init__ is object.__init__:  # type: ignore[misc]
        cls.__init__ = _plain_init  # type: ignore[misc]


def _plain_init(self: Any, envid: int) -> None:
    """Of a class whose spaces are class attributes: nothing is left to do."""


def _cast(cls: type, field: Field) -> Callable[[Any], Any]:
    """Python's number of what the field would hold."""
    kind, size, fits = field.dtype.kind, field.dtype.itemsize, FITS[field.dtype.kind]
    half, whole = 1 << (8 * size - 1), 1 << (8 * size)

    def cast(value: Any) -> Any:
        given = _KINDS.get(type(value)) or _kind(value)
        if given is None or given not in fits:
            raise TypeError(
                f"{cls.__qualname__}.{field.name} is declared {field.dtype.name}, got {value!r:.60} of type "
                f"{type(value).__name__}"
            )
        if kind == "f":
            return float(value) if size == 8 else float(np.float32(value))
        if kind == "b":
            return bool(value)
        number = int(value)
        return (number + half) % whole - half if kind == "i" else number % whole

    return cast


def _fill(cls: type, field: Field, array: Any, value: Any) -> None:
    given = np.asarray(value)
    if given.shape not in ((), array.shape) or _PLAIN.get(given.dtype.kind) not in {*FITS[field.dtype.kind]}:
        raise TypeError(
            f"{cls.__qualname__}.{field.name} is declared {field.dtype.name}{list(field.shape)}, got "
            f"{given.dtype}{list(given.shape)}"
        )
    array[...] = given.astype(field.dtype)


def _kind(value: Any) -> str | None:
    """The kind of a NumPy scalar or an array without dimensions; None of anything else."""
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        return _PLAIN.get(value.dtype.kind)
    return next((kind for known, kind in _KINDS.items() if isinstance(value, known)), None)
