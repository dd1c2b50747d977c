"""The types of `self` in compiled hooks, and of the classes they name: attributes are read, methods called.

StateType       a pointer to a record of the declared state
ClassConstant   a class: its constants, static methods, and methods of a base class
"""

from __future__ import annotations

import functools
import inspect
import types as python_types
from typing import Any

import numpy as np
from numba.core import cgutils, types
from numba.core.datamodel import models, register_default
from numba.core.imputils import lower_builtin, lower_constant, lower_getattr_generic
from numba.core.typing import templates
from numba.np.arrayobj import make_array, populate_array
from numba.np.numpy_support import from_dtype

from envpool_protocol.compiled import target
from envpool_protocol.compiled.proposal import proposed_form
from envpool_protocol.compiled.refusals import refuse
from envpool_protocol.compiled.state import DECLARATION, Field, fields_of, offsets_of


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


attributes: dict[type, dict[str, Any]] = {}  # of an instance of the class that is being compiled


register_default(StateType)(models.OpaqueModel)
register_default(ClassConstant)(models.OpaqueModel)


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
        kind = context.resolve_value_type(found)
        return kind.copy(readonly=True) if isinstance(kind, types.Array) else kind
    except ValueError:
        raise refuse(
            f"{cls.__qualname__}.{name} is {found!r:.60} of type {type(found).__name__}; compiled hooks can "
            "use constants that are numbers, strings, tuples or arrays of numbers"
        ) from None


def _undeclared(cls: type, name: str, seen: dict[str, Any]) -> str:
    if name not in seen:
        return f"{cls.__qualname__} has no attribute {name!r}: declare it in {DECLARATION}, or fix the name"
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
    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _call_method(context, builder, signature, values, name)


def _call_method(context: Any, builder: Any, signature: Any, values: Any, name: str) -> Any:
    """Lower the call of a method: the first argument is the record."""
    kind = signature.args[0]
    function = types.Dispatcher(target.compiled(inspect.getattr_static(kind.cls, name)))
    return call(context, builder, function, signature, values)


def call(context: Any, builder: Any, function: Any, signature: Any, values: Any) -> Any:
    """Lower the call of a compiled function."""
    lowered = context.get_function(function, signature)
    context.add_linking_libs(getattr(lowered, "libs", ()))
    return lowered(builder, values)


def _getter(found: property) -> Any:
    return types.Dispatcher(target.compiled(found.fget))


@lower_getattr_generic(StateType)
def _get(context: Any, builder: Any, kind: StateType, value: Any, name: str) -> Any:
    if name in kind.fields:
        return read(context, builder, kind, kind.fields[name], value)
    if name == "__class__":
        return context.get_dummy_value()
    found = inspect.getattr_static(kind.cls, name)
    if isinstance(found, property):
        getter = _getter(found)
        signature = getter.get_call_type(context.typing_context, (kind,), {})
        return call(context, builder, getter, signature, (value,))
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


def place_of(context: Any, builder: Any, kind: StateType, field: Field, record: Any) -> Any:
    return cgutils.pointer_add(builder, record, kind.offsets[field.name])


def read(context: Any, builder: Any, kind: StateType, field: Field, record: Any) -> Any:
    place = place_of(context, builder, kind, field, record)
    if field.record is not None:
        return place
    if field.shape:
        return array_at(context, builder, field.dtype, field.shape, place)
    stored = from_dtype(field.dtype)
    value = context.unpack_value(builder, stored, typed(context, builder, stored, place))
    return context.cast(builder, value, stored, read_type(field))


def typed(context: Any, builder: Any, kind: Any, place: Any) -> Any:
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
        data=typed(context, builder, kind.dtype, place),
        shape=[context.get_constant(types.intp, length) for length in shape],
        strides=strides,
        itemsize=context.get_constant(types.intp, dtype.itemsize),
        meminfo=None,
    )
    return array._getvalue()
