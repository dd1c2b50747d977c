"""An interpreted env that declares its state keeps numbers as its record does.

What is assigned to a declared attribute is cast to the declared dtype, and a scalar is read back as Python's
float, int or bool, which is how compiled hooks read it: in double precision and 64 bits. An array is copied
into the attribute's own array, and one that was never assigned is zeros; a record is made at its first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from envpool_protocol.compiled.state import Field, fields_of

_KINDS = {bool: "b", int: "i", float: "f"}
_FITS = {"b": "b", "i": "bi", "u": "bi", "f": "bif"}  # the kinds that a field's kind takes


def install(cls: type) -> None:
    """Make the instances of a class that declares its state keep it as a record does."""
    fields = fields_of(cls)
    casts = {name: _cast(cls, field) for name, field in fields.items() if field.is_scalar}
    arrays = {name: field for name, field in fields.items() if field.shape}
    records = {name: field.record for name, field in fields.items() if field.record is not None}
    plain_set = cls.__setattr__

    def set_attribute(self: Any, name: str, value: Any) -> None:
        cast = casts.get(name)
        if cast is not None:
            plain_set(self, name, cast(value))
        elif name in arrays:
            np.copyto(getattr(self, name), value, casting="same_kind")
        else:
            plain_set(self, name, value)

    def missing_attribute(self: Any, name: str) -> Any:
        if name in arrays:
            object.__setattr__(self, name, np.zeros(arrays[name].shape, arrays[name].dtype))
        elif name in records:
            object.__setattr__(self, name, records[name]())
        elif name in casts:
            raise AttributeError(
                f"{cls.__qualname__}.{name} is declared, and was never set", name=name, obj=self
            )
        else:
            raise AttributeError(
                f"{type(self).__qualname__!r} object has no attribute {name!r}", name=name, obj=self
            )
        return self.__dict__[name]

    cls.__setattr__ = set_attribute  # type: ignore[method-assign, assignment]
    if "__getattr__" not in vars(cls):
        cls.__getattr__ = missing_attribute  # type: ignore[attr-defined]
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        cls.__init__ = _plain_init  # type: ignore[misc]


def _plain_init(self: Any, envid: int) -> None:
    """Of a class whose spaces are class attributes: nothing is left to do."""


def _cast(cls: type, field: Field) -> Callable[[Any], Any]:
    """Python's number of what the field would hold."""
    kind, size, fits = field.dtype.kind, field.dtype.itemsize, _FITS[field.dtype.kind]
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


def _kind(value: Any) -> str | None:
    """The kind of a NumPy scalar or an array without dimensions; None of anything else."""
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        return {"u": "i"}.get(value.dtype.kind, value.dtype.kind)
    return next((kind for known, kind in _KINDS.items() if isinstance(value, known)), None)
