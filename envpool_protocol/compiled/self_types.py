"""The types of `self` in compiled hooks, of the classes they name, and of dicts with constant keys.

StateType       a pointer to a record of the declared state
ClassConstant   a class: its constants, static methods, and methods of a base class
DictType        a value with a field for each key
"""

from __future__ import annotations

import functools
import inspect
import random
import types as python_types
from typing import Any

import numpy as np
from numba.core import cgutils, errors, types
from numba.core.datamodel import models, register_default
from numba.core.imputils import lower_builtin, lower_constant, lower_getattr_generic, lower_setattr_generic
from numba.core.typing import templates
from numba.extending import typeof_impl
from numba.np.arrayobj import make_array, populate_array
from numba.np.numpy_support import from_dtype

from envpool_protocol.compiled import target
from envpool_protocol.compiled.state import DECLARATION, Field, fields_of, offsets_of

MARK = "\u2063"  # around a refusal of ours, in the midst of Numba's text


def refuse(text: str) -> errors.TypingError:
    """A refusal in our words."""
    return errors.TypingError(f"{MARK}{text}{MARK}")


_NEEDS_PYTHON: dict[Any, str] = {
    print: "print needs the interpreter; to print, make the pool with compiled=False, or run the env alone",
    super: "super() needs the interpreter; name the class: Base._step_envpool(self, action)",
}


def refuse_what_needs_python(value: Any) -> None:
    """Refuse what Numba would compile to calls into Python, or to something else than it looks like."""
    if isinstance(value, type | python_types.BuiltinFunctionType) and value in _NEEDS_PYTHON:
        raise ValueError(f"{MARK}{_NEEDS_PYTHON[value]}{MARK}")  # which Numba gives the line
    if isinstance(getattr(value, "__self__", None), np.random.RandomState | random.Random):
        name = f"{'random' if isinstance(value.__self__, random.Random) else 'np.random'}.{value.__name__}"
        raise refuse(
            f"{name} draws from a generator of the process; declare 'random': envpool_protocol.random.Random "
            "and draw from self.random"
        )


class StateType(types.Type):
    """`self`: a record of the state that `cls` declares."""

    mutable = True

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.fields = fields_of(cls)
        self.offsets = offsets_of(cls)
        super().__init__(f"{cls.__module__}.{cls.__qualname__}")

    @property
    def key(self) -> Any:
        return self.cls


class ClassConstant(types.Opaque):
    """A class of the user's, named in a hook."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        super().__init__(f"class {cls.__module__}.{cls.__qualname__}")

    @property
    def key(self) -> Any:
        return self.cls


class DictType(types.Type):
    """A dict display with constant keys."""

    def __init__(self, keys: tuple[str, ...], values: tuple[Any, ...]) -> None:
        self.members = dict(zip(keys, values, strict=True))
        super().__init__("{" + ", ".join(f"{key!r}: {value}" for key, value in self.members.items()) + "}")

    @property
    def key(self) -> Any:
        return tuple(self.members.items())


attributes: dict[type, dict[str, Any]] = {}  # of an instance of the class that is being compiled


register_default(StateType)(models.OpaqueModel)
register_default(ClassConstant)(models.OpaqueModel)


@register_default(DictType)
class _DictModel(models.StructModel):
    def __init__(self, manager: Any, kind: DictType) -> None:
        super().__init__(manager, kind, [(f"m{i}", v) for i, v in enumerate(kind.members.values())])


# Reading attributes


def read_type(field: Field) -> Any:
    """What a field is read as: scalars in 64 bits, as Python has them."""
    if field.record is not None:
        return StateType(field.record)
    if field.shape:
        return types.Array(from_dtype(field.dtype), len(field.shape), "C")
    return {"b": types.boolean, "f": types.float64}.get(field.dtype.kind, types.int64)


@templates.infer_getattr
class _StateAttributes(templates.AttributeTemplate):
    key = StateType

    def generic_resolve(self, kind: StateType, name: str) -> Any:
        if name in kind.fields:
            return read_type(kind.fields[name])
        if name == "__class__":  # type(self)
            return ClassConstant(kind.cls)
        found = inspect.getattr_static(kind.cls, name, _NOTHING)
        if isinstance(found, python_types.FunctionType):
            return _bound(self.context, kind, name, found)
        if isinstance(found, property):
            return _getter(found).get_call_type(self.context, (kind,), {}).return_type
        return _class_attribute(self.context, kind.cls, name, found, attributes.get(kind.cls, {}))


@templates.infer_getattr
class _ClassAttributes(templates.AttributeTemplate):
    key = ClassConstant

    def generic_resolve(self, kind: ClassConstant, name: str) -> Any:
        found = inspect.getattr_static(kind.cls, name, _NOTHING)
        if isinstance(found, python_types.FunctionType):
            return types.Dispatcher(target.compiled(found))
        return _class_attribute(self.context, kind.cls, name, found, {})


_NOTHING = object()


def _class_attribute(context: Any, cls: type, name: str, found: Any, seen: dict[str, Any]) -> Any:
    if found is _NOTHING:
        raise refuse(_undeclared(cls, name, seen))
    if isinstance(found, staticmethod):
        return types.Dispatcher(target.compiled(found.__func__))
    if isinstance(found, classmethod):
        raise refuse(f"{cls.__qualname__}.{name} is a classmethod; make it a staticmethod or a method")
    if name in seen and not np.array_equal(seen[name], found):
        raise refuse(
            f"__init__ sets self.{name}, which hides the class's {name} = {found!r:.40}; "
            f"declare it in {DECLARATION}"
        )
    try:
        return context.resolve_value_type(found)
    except ValueError:
        raise refuse(
            f"{cls.__qualname__}.{name} is {found!r:.60} of type {type(found).__name__}; compiled hooks can "
            "use constants that are numbers, strings, tuples or arrays of numbers"
        ) from None


def _undeclared(cls: type, name: str, seen: dict[str, Any]) -> str:
    if name not in seen:
        return f"{cls.__qualname__} has no attribute {name!r}: declare it in {DECLARATION}, or fix the name"
    from envpool_protocol.compiled.proposal import proposed_form

    form = proposed_form(seen[name])
    if form is None:
        value = f"{seen[name]!r:.60} of type {type(seen[name]).__name__}"
        return f"self.{name} is {value}, a Python object, which compiled hooks cannot use"
    return f"self.{name} is not declared; add `{name!r}: {form}` to {DECLARATION}"


def _bound(context: Any, kind: StateType, name: str, function: Any) -> Any:
    method = target.compiled(function)

    class Method(templates.AbstractTemplate):
        key = (StateType, name)
        _overload_func = method  # part of the type's key: Numba keeps one type for each

        def generic(self, args: Any, kws: Any) -> Any:
            if method.is_compiling:
                raise refuse(f"{function.__qualname__} calls itself; write a loop")
            signature = types.Dispatcher(method).get_call_type(self.context, (kind, *args), kws)
            return signature.as_method()

    _lower_calls_of(name)
    return types.BoundFunction(Method, kind)


@functools.cache
def _lower_calls_of(name: str) -> None:
    @lower_builtin((StateType, name), StateType, types.VarArg(types.Any))
    def call(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return call_method(context, builder, signature, values, name)


def call_method(context: Any, builder: Any, signature: Any, values: Any, name: str) -> Any:
    """Lower the call of a method: the first argument is the record."""
    kind = signature.args[0]
    function = types.Dispatcher(target.compiled(inspect.getattr_static(kind.cls, name)))
    call = context.get_function(function, signature)
    context.add_linking_libs(getattr(call, "libs", ()))
    return call(builder, values)


def _getter(found: property) -> Any:
    return types.Dispatcher(target.compiled(found.fget))


@lower_getattr_generic(StateType)
def _get(context: Any, builder: Any, kind: StateType, value: Any, name: str) -> Any:
    if name in kind.fields:
        return _read(context, builder, kind, kind.fields[name], value)
    if name == "__class__":
        return context.get_dummy_value()
    found = inspect.getattr_static(kind.cls, name)
    if isinstance(found, property):
        getter = _getter(found)
        signature = getter.get_call_type(context.typing_context, (kind,), {})
        call = context.get_function(getter, signature)
        context.add_linking_libs(getattr(call, "libs", ()))
        return call(builder, (value,))
    return _get_constant(context, builder, found)


@lower_getattr_generic(ClassConstant)
def _get_of_class(context: Any, builder: Any, kind: ClassConstant, value: Any, name: str) -> Any:
    return _get_constant(context, builder, inspect.getattr_static(kind.cls, name))


def _get_constant(context: Any, builder: Any, found: Any) -> Any:
    if isinstance(found, staticmethod | python_types.FunctionType):
        return context.get_dummy_value()
    return context.get_constant_generic(builder, context.typing_context.resolve_value_type(found), found)


@lower_constant(ClassConstant)
def _class_dummy(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


def _at(context: Any, builder: Any, kind: StateType, field: Field, record: Any) -> Any:
    return cgutils.pointer_add(builder, record, kind.offsets[field.name])


def _read(context: Any, builder: Any, kind: StateType, field: Field, record: Any) -> Any:
    place = _at(context, builder, kind, field, record)
    if field.record is not None:
        return place
    if field.shape:
        return array_at(context, builder, field.dtype, field.shape, place)
    stored = from_dtype(field.dtype)
    value = context.unpack_value(builder, stored, _as(context, builder, stored, place))
    return context.cast(builder, value, stored, read_type(field))


def _as(context: Any, builder: Any, kind: Any, place: Any) -> Any:
    return builder.bitcast(place, context.get_data_type(kind).as_pointer())


def array_at(
    context: Any,
    builder: Any,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    place: Any,
    readonly: bool = False,
) -> Any:
    """An array over memory that somebody else owns."""
    kind = types.Array(from_dtype(dtype), len(shape), "C", readonly=readonly)
    array = make_array(kind)(context, builder)
    strides: list[Any] = []
    step = dtype.itemsize
    for length in reversed(shape):
        strides.insert(0, context.get_constant(types.intp, step))
        step *= length
    populate_array(
        array,
        data=_as(context, builder, kind.dtype, place),
        shape=[context.get_constant(types.intp, length) for length in shape],
        strides=strides,
        itemsize=context.get_constant(types.intp, dtype.itemsize),
        meminfo=None,
    )
    return array._getvalue()


# Writing attributes

_KINDS = ((types.Boolean, "b"), (types.Integer, "i"), (types.Float, "f"))
_FITS = {"b": "b", "i": "bi", "u": "bi", "f": "bif"}


def kind_of(kind: Any) -> str | None:
    """b, i or f for a number's type, else None."""
    kind = types.unliteral(kind)
    return next((letter for known, letter in _KINDS if isinstance(kind, known)), None)


def fits(kind: Any, dtype: np.dtype[Any]) -> bool:
    """Whether numbers of a type are kept in that dtype without another kind of cast than a narrower one."""
    letter = kind_of(kind)
    return letter is not None and letter in _FITS[dtype.kind]


def set_signature(context: Any, kind: StateType, name: str, value: Any) -> Any:
    """The signature of `self.name = value`, if the field takes it."""
    field, value = kind.fields.get(name), types.unliteral(value)
    if field is None:
        found = inspect.getattr_static(kind.cls, name, _NOTHING)
        if isinstance(found, property) or found is not _NOTHING:
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
        place = _as(context, builder, stored, _at(context, builder, kind, field, record))
        context.pack_value(builder, stored, context.cast(builder, value, given, stored), place)
        return
    from envpool_protocol.compiled.rows import copier

    array = read_type(field)
    copy = types.Dispatcher(target.compiled(copier(field.shape, given, f"self.{name}")))
    call_type = copy.get_call_type(context.typing_context, (array, given), {})
    call = context.get_function(copy, call_type)
    context.add_linking_libs(getattr(call, "libs", ()))
    call(builder, (_read(context, builder, kind, field, record), value))


# Dicts


class _MakeDict(templates.AbstractTemplate):
    key = target.DictMaker
    keys: tuple[Any, ...]

    def generic(self, args: Any, kws: Any) -> Any:
        if not all(isinstance(key, str) for key in self.keys):
            raise refuse(
                "the keys of a dict must be constant strings; look numbers up in a tuple or an array"
            )
        values = tuple(map(types.unliteral, args))
        return templates.signature(DictType(self.keys, values), *values)


@lower_builtin(target.DictMaker, types.VarArg(types.Any))
def _make_dict(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    made = cgutils.create_struct_proxy(signature.return_type)(context, builder)
    for index, value in enumerate(values):
        setattr(made, f"m{index}", value)
    return made._getvalue()


@typeof_impl.register(target.DictMaker)
def _type_of_maker(maker: target.DictMaker, context: Any) -> Any:
    template = type("MakeDict", (_MakeDict,), {"keys": maker.keys})
    return types.Function(template)


@templates.infer
class _StaticGet(templates.AbstractTemplate):
    key = "static_getitem"

    def generic(self, args: Any, kws: Any) -> Any:
        kind, index = args
        if not isinstance(kind, DictType):
            return None
        if index not in kind.members:
            raise refuse(f"the dict has no key {index!r}; it has {', '.join(map(repr, kind.members))}")
        return templates.signature(kind.members[index], *args)


@lower_builtin("static_getitem", DictType, types.StringLiteral)
def _static_get(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    kind = signature.args[0]
    return builder.extract_value(values[0], list(kind.members).index(values[1]))
