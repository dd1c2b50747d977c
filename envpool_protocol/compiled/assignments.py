"""`self.name = value` in hooks: whether the field takes it, and how it gets there."""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.core.imputils import lower_setattr_generic
from numba.core.typing import templates
from numba.np.numpy_support import from_dtype

from envpool_protocol.compiled import target
from envpool_protocol.compiled.arithmetic import fits, kind_of
from envpool_protocol.compiled.refusals import refuse
from envpool_protocol.compiled.rows import copier
from envpool_protocol.compiled.self_types import StateType, call, place_of, read, read_type, typed
from envpool_protocol.compiled.state import DECLARATION, Field


def set_signature(context: Any, kind: StateType, name: str, value: Any) -> Any:
    """The signature of `self.name = value`, if the field takes it."""
    field, value = kind.fields.get(name), types.unliteral(value)
    if field is None:
        if hasattr(kind.cls, name):
            raise refuse(f"hooks set self.{name}, which the class defines; declare it in {DECLARATION}")
        form = {"b": "bool", "i": "np.int64", "f": "np.float64"}.get(kind_of(value) or "")
        form = form or (f"(np.{value.dtype}, (...))" if isinstance(value, types.Array) else "...")
        raise refuse(f"hooks set self.{name}, which is not declared; add `{name!r}: {form}` to {DECLARATION}")
    if field.record is not None:
        raise refuse(f"self.{name} is a {field.record.__qualname__} for good; call its methods instead")
    if field.is_scalar:
        if not fits(value, field.dtype):
            raise refuse(_misfit(name, field, value))
    elif not _fits_array(field, value):
        raise refuse(_misfit(name, field, value))
    return templates.signature(types.void, kind, value)


def _fits_array(field: Field, value: Any) -> bool:
    if isinstance(value, types.BaseTuple):
        return all(_fits_array(field, member) for member in value.types)
    return fits(value.dtype if isinstance(value, types.Array) else value, field.dtype)


def _misfit(name: str, field: Field, value: Any) -> str:
    declared = f"{field.dtype.name}{list(field.shape) if field.shape else ''}"
    hint = ""
    if kind_of(value) == "f" and field.dtype.kind in "iu":
        hint = f"; write int(...), or declare {name!r}: np.float64"
    elif kind_of(value) == "i" and field.dtype.kind == "b":
        hint = f"; write bool(...), or declare {name!r}: np.int64"
    return f"self.{name} is declared {declared}, and a hook sets it to {value}{hint}"


@lower_setattr_generic(StateType)
def _set(context: Any, builder: Any, signature: Any, values: Any, name: str) -> None:
    kind, given = signature.args
    record, value = values
    field = kind.fields[name]
    if field.is_scalar:
        stored = from_dtype(field.dtype)
        place = typed(context, builder, stored, place_of(context, builder, kind, field, record))
        context.pack_value(builder, stored, context.cast(builder, value, given, stored), place)
        return
    array = read_type(field)
    copy = types.Dispatcher(target.compiled(copier(field.shape, given, f"self.{name}")))
    call_type = copy.get_call_type(context.typing_context, (array, given), {})
    call(context, builder, copy, call_type, (read(context, builder, kind, field, record), value))
