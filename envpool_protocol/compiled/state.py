"""The state of an env as it is declared, as a NumPy record, and on its way to and from an instance.

    state_envpool = {"x": np.float64, "grid": (np.uint8, (8, 8)), "random": Random}

A field is a scalar, an array of a fixed shape, or a record: a class that declares a state of its own. What
base classes declare comes first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from envpool_protocol.errors import SpecError
from envpool_protocol.random import Random

DECLARATION = "state_envpool"
_SCALARS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64")
_ELEMENTS = (*_SCALARS, "uint64")
FITS = {"b": "b", "i": "bi", "u": "bi", "f": "bif"}  # the kinds of numbers that a field of a kind takes
_LEAST = np.dtype({"names": [], "formats": [], "itemsize": 8})  # of an env that keeps nothing


@dataclass(frozen=True)
class Field:
    """One declared field.

    Attributes:
        name: of the attribute.
        dtype: of a scalar, or of the elements of an array; of a record, the record's.
        shape: of an array, else ().
        record: the class of a record, else None.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    record: type | None = None

    @property
    def is_scalar(self) -> bool:
        """Whether the attribute is one number."""
        return self.record is None and not self.shape


def declares(cls: type) -> bool:
    """Whether a class declares its state."""
    return isinstance(getattr(cls, DECLARATION, None), Mapping)


def fields_of(cls: type) -> dict[str, Field]:
    """The declared fields of a class by their names.

    Raises:
        SpecError: it declares none, or something that is no field; the message says what to write.
    """
    known = _fields.get(cls)
    if known is None:
        known = _fields[cls] = _declared_fields(cls)
    return known


_fields: WeakKeyDictionary[type, dict[str, Field]] = WeakKeyDictionary()  # once for a hundred thousand envs


def _declared_fields(cls: type) -> dict[str, Field]:
    if not declares(cls):
        raise SpecError(
            f"{cls.__qualname__} declares no state; write `{DECLARATION} = {{'x': np.float64}}` in the "
            "class, with a dtype, a (dtype, shape) or a class that declares a state for each attribute that "
            "its hooks change"
        )
    declared: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        own = vars(base).get(DECLARATION, {})
        if not isinstance(own, Mapping):
            raise SpecError(f"{base.__qualname__}.{DECLARATION} is {own!r:.80}; expected a dict")
        declared.update(own)
    return {name: _field(cls, name, form) for name, form in declared.items()}


def _field(cls: type, name: Any, form: Any) -> Field:
    place = f"{cls.__qualname__}.{DECLARATION}[{name!r}]"
    if not (isinstance(name, str) and name.isidentifier()):
        raise SpecError(f"{place}: expected the name of an attribute")
    if callable(getattr(cls, name, None)) or isinstance(getattr(cls, name, None), property):
        raise SpecError(f"{place}: {cls.__qualname__} has a method of that name; rename one of them")
    if isinstance(form, type) and declares(form):
        return Field(name, state_dtype(form), record=form)
    if isinstance(form, tuple) and len(form) == 2:
        element, shape = form
        if isinstance(element, type) and declares(element):
            raise SpecError(
                f"{place}: an array of records; declare an array for each of their fields instead"
            )
        return Field(name, _dtype(place, element, _ELEMENTS), _shape(place, shape))
    return Field(name, _dtype(place, form, _SCALARS))


def _dtype(place: str, form: Any, allowed: tuple[str, ...]) -> np.dtype[Any]:
    with contextlib.suppress(TypeError):
        dtype: np.dtype[Any] = np.dtype(form)  # of None, float64
        if form is not None and dtype.name in allowed and dtype.isnative:
            return dtype
    hint = "; int64 holds what Python's ints are used for" if form is np.uint64 else ""
    raise SpecError(
        f"{place} is {form!r:.80}; expected a dtype ({', '.join(allowed)}), a (dtype, shape) such as "
        f"(np.uint8, (8, 8)), or a class that declares a state{hint}"
    )


def _shape(place: str, form: Any) -> tuple[int, ...]:
    shape = form if isinstance(form, tuple) else (form,)
    if not shape or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise SpecError(f"{place}: the shape {form!r:.80}; expected positive ints, such as (8, 8)")
    return tuple(int(n) for n in shape)


def random_fields(cls: type) -> Iterator[str]:
    """The paths of all generators in the state, such as `random` and `arm.noise`, in order."""
    for name, field in fields_of(cls).items() if declares(cls) else ():
        if field.record is not None and issubclass(field.record, Random):
            yield name
        elif field.record is not None:
            yield from (f"{name}.{path}" for path in random_fields(field.record))


def state_dtype(cls: type) -> np.dtype[Any]:
    """The record of an env's state: an aligned structured dtype, its fields as declared.

    Raises:
        SpecError: the class declares no state, or a field is not supported.
    """
    fields = fields_of(cls)
    formats = [(name, field.dtype, field.shape) for name, field in fields.items()]
    dtype = np.dtype(formats, align=True) if formats else _LEAST
    return dtype


def offsets_of(cls: type) -> dict[str, int]:
    """Where each field lies in the record."""
    dtype = state_dtype(cls)
    return {name: dtype.fields[name][1] for name in dtype.names or () if dtype.fields}


def write_state(instance: Any, record: Any, poison: bool = False) -> None:
    """Copy the declared attributes of an instance into its record, an element of a `state_dtype` array.

    Args:
        instance: an env, or what one of its fields holds.
        record: `records[i]` of an array `records` of dtype `state_dtype(type(instance))`.
        poison: scalars that the instance does not have are filled with NaN or the least value of their
            dtype, to be told apart by `unset_fields`, instead of zero.

    Raises:
        SpecError: an attribute does not fit its field, or hides a constant of the class without being
            declared, so that the machine code would not see it.
    """
    cls = type(instance)
    fields = fields_of(cls)
    _check_hidden(instance, fields)
    for name, field in fields.items():
        if not hasattr(instance, name):
            record[name] = np.zeros((), field.dtype)
            if poison and field.is_scalar:
                record.setfield(*_poison(field.dtype), offsets_of(cls)[name])
        elif field.record is not None:
            write_state(getattr(instance, name), record[name], poison)
        else:
            _write(cls, field, getattr(instance, name), record)


def _write(cls: type, field: Field, value: Any, record: Any) -> None:
    try:
        if field.is_scalar and type(value) in _PLAIN[field.dtype.kind]:
            record[field.name] = value
            return
        array = np.asarray(value)
        if array.shape != field.shape:
            raise ValueError(f"shape {array.shape}; declared is {field.shape}")
        if (
            not np.can_cast(array.dtype, field.dtype, "same_kind")
            and array.dtype.kind + field.dtype.kind != "iu"
        ):
            raise ValueError(f"dtype {array.dtype}; declared is {field.dtype}")
        record[field.name] = array.astype(field.dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise SpecError(f"{cls.__qualname__}.{field.name} is {value!r:.80}: {error}") from None


# Python's own numbers, which a field of that kind takes as they are.
_PLAIN: dict[str, tuple[type, ...]] = {
    "b": (bool,),
    "i": (int, bool),
    "u": (int, bool),
    "f": (float, int, bool),
}


def _check_hidden(instance: Any, fields: Mapping[str, Field]) -> None:
    cls = type(instance)
    for name, value in getattr(instance, "__dict__", {}).items():
        constant = getattr(cls, name, None)
        if name in fields or not isinstance(constant, int | float | str | tuple | np.ndarray | np.generic):
            continue
        if constant is not value and not np.array_equal(constant, value):
            raise SpecError(
                f"{cls.__qualname__} sets self.{name} = {value!r:.60}, where the class says "
                f"{constant!r:.60}: compiled hooks see the class's. Declare it in {DECLARATION}, such as "
                f"'{name}': np.float64"
            )


def read_state(record: Any, instance: Any) -> None:
    """Set the declared attributes of an instance to what its record holds; the way back of `write_state`."""
    for name, field in fields_of(type(instance)).items():
        if field.record is not None:
            read_state(record[name], getattr(instance, name))
        elif field.shape:
            setattr(instance, name, np.array(record[name]))
        else:
            setattr(instance, name, record[name].item())


def _poison(dtype: np.dtype[Any]) -> tuple[int, np.dtype[Any]]:
    """Bits that no env computes: a NaN of its own, or the least integer; for bool, a byte that is none."""
    size, kind = dtype.itemsize, dtype.kind
    bits = _NAN[size] if kind == "f" else 0xA5 if kind == "b" else 1 << (8 * size - 1)
    return (2 * bits - 1 if kind == "u" else bits), np.dtype(f"u{size}")


_NAN = {4: 0x7FC0DEAD, 8: 0x7FF8DEADDEADDEAD}


def unset_fields(cls: type, record: Any, prefix: str = "") -> list[str]:
    """The scalars of a record that still hold what `write_state(..., poison=True)` put there: never set."""
    return list(_unset(cls, record, prefix))


def _unset(cls: type, record: Any, prefix: str) -> Iterator[str]:
    for name, field in fields_of(cls).items():
        if field.record is not None:
            yield from _unset(field.record, record[name], f"{prefix}{name}.")
        elif field.is_scalar:
            bits, raw = _poison(field.dtype)
            if record.getfield(raw, offsets_of(cls)[name]) == bits:
                yield f"{prefix}{name}"
