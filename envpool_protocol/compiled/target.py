"""A Numba target of our own: Numba's CPU target, as object code that needs no Python.

What differs: the machine is the baseline of the platform, not the one that compiles; functions of the user
need no decorator; a raised exception is data (faults.py) instead of a pickle; memory comes from an arena that
is empty again after each call (cpp_core/kernel_runtime.h), so that nothing counts references; and only the
last library, where all is inlined, is optimised.
"""

from __future__ import annotations

import types as python_types
from typing import Any

from numba.core import cpu, dispatcher, types, typing
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager
from numba.core.registry import CPUDispatcher, CPUTarget
from numba.core.registry import cpu_target as numbas_target
from numba.core.runtime import rtsys
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_registry
from numba.core.typed_passes import NativeLowering
from numba.core.untyped_passes import InlineClosureLikes

from envpool_protocol.compiled import arithmetic, library
from envpool_protocol.compiled.dicts import DictDisplays
from envpool_protocol.compiled.lowering import KernelCallConv, KernelLowering
from envpool_protocol.compiled.refusals import refuse_what_needs_python

TARGET = "envpool_kernel"


class KernelContext(cpu.CPUContext):
    """The target context."""

    allow_dynamic_globals = False
    enable_boundscheck = False  # whatever $NUMBA_BOUNDSCHECK says

    def init(self) -> None:
        self.is32bit = False
        self._internal_codegen = library.new_codegen()
        self._runtime: library.KernelLibrary | None = None

    @property
    def call_conv(self) -> Any:
        return KernelCallConv(self)

    def get_constant_generic(self, builder: Any, ty: Any, val: Any) -> Any:
        if isinstance(ty, types.Dispatcher):
            return self.get_dummy_value()  # Numba's has an address of this process
        return super().get_constant_generic(builder, ty, val)

    def load_additional_registries(self) -> None:
        rtsys.initialize(numbas_target.target_context)  # so that ours does not become the one of all Numba
        super().load_additional_registries()

    def get_ufunc_info(self, ufunc_key: Any) -> Any:
        return arithmetic.ufunc_loops(ufunc_key, super().get_ufunc_info(ufunc_key))

    def post_lowering(self, mod: Any, linked: Any) -> None:
        root = _descriptor.target_context
        if root._runtime is None:
            root._runtime = library.runtime_library(self)
        linked.add_linking_library(root._runtime)

    def get_executable(self, library: Any, fndesc: Any, env: Any) -> Any:
        return object()  # nothing that can be called here: a key for the definition


class KernelTyping(typing.Context):
    """The typing context. `checked` is how functions that are met are compiled."""

    def resolve_value_type(self, val: Any) -> Any:
        refuse_what_needs_python(val)
        if isinstance(val, dispatcher.Dispatcher) and not isinstance(val, KernelDispatcher):
            return types.Dispatcher(compiled(val.py_func))
        try:
            return super().resolve_value_type(val)
        except ValueError:
            if isinstance(val, python_types.FunctionType):
                return types.Dispatcher(compiled(val))
            if isinstance(val, type):
                from envpool_protocol.compiled.self_types import ClassConstant

                return ClassConstant(val)
            raise

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        return super().resolve_function_type(func, arithmetic.taken_as(func, args), kws)

    def resolve_setattr(self, target: Any, attr: str, value: Any) -> Any:
        from envpool_protocol.compiled.assignments import set_signature
        from envpool_protocol.compiled.self_types import StateType

        if isinstance(target, StateType):
            return set_signature(self, target, attr, value)
        return super().resolve_setattr(target, attr, value)


class KernelTarget(CPUTarget):
    """Both contexts, made once they are needed."""

    @property
    def _toplevel_target_context(self) -> Any:
        if self._target is None:
            self._target = KernelContext(self.typing_context, TARGET)
        return self._target

    @property
    def _toplevel_typing_context(self) -> Any:
        if self._typing is None:
            self._typing = KernelTyping()
        return self._typing

    _target: Any = None
    _typing: Any = None


class KernelCompiler(CompilerBase):
    """Numba's nopython pipeline with our two passes."""

    def define_pipelines(self) -> list[Any]:
        manager = PassManager("envpool_kernel")
        builder = DefaultPassBuilder
        for define in (
            builder.define_untyped_pipeline,
            builder.define_typed_pipeline,
            builder.define_nopython_lowering_pipeline,
        ):
            for one, description in define(self.state).passes:
                if one is NativeLowering:
                    one = KernelLowering
                manager.passes.append((one, description))
                if one is InlineClosureLikes:
                    manager.passes.append((DictDisplays, "dict displays"))
        manager.finalize()
        return [manager]


_descriptor = KernelTarget(TARGET)


class KernelDispatcher(CPUDispatcher):
    targetdescr = _descriptor

    def add_overload(self, cres: Any) -> None:
        self.overloads[tuple(cres.signature.args)] = cres


class Kernel(CPU):
    """The token of this target."""


def _jit(function: Any = None, **options: Any) -> Any:
    """What `@overload` compiles implementations with."""
    if function is None:
        return lambda later: _jit(later, **options)
    return _dispatcher(function, {"boundscheck": False, **options})


def _dispatcher(function: Any, options: dict[str, Any]) -> KernelDispatcher:
    for name in ("_target", "cache", "pipeline_class", "locals", "target"):
        options.pop(name, None)
    settings = {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, **options}
    return KernelDispatcher(
        py_func=function, locals={}, targetoptions=settings, pipeline_class=KernelCompiler
    )


_functions: dict[Any, KernelDispatcher] = {}
_checked = False


def compiled(function: Any) -> KernelDispatcher:
    """The dispatcher of a plain function, with bounds checked or not as is being compiled now."""
    key = (function, _checked)
    if key not in _functions:
        _functions[key] = _dispatcher(function, {"boundscheck": _checked})
    return _functions[key]


def start(checked: bool) -> None:
    """From now on functions are compiled with bounds checked, or without; what was compiled is forgotten."""
    global _checked
    _checked = checked
    _functions.clear()


def contexts() -> tuple[KernelTyping, KernelContext]:
    """Both contexts, ready."""
    _descriptor.typing_context.refresh()
    _descriptor.target_context.refresh()
    return _descriptor.typing_context, _descriptor.target_context


target_registry[TARGET] = Kernel
dispatcher_registry[Kernel] = KernelDispatcher
jit_registry[Kernel] = _jit
