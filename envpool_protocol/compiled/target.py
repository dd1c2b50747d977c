"""A Numba target of our own: Numba's CPU target, as object code that needs neither Python nor Numba.

What differs: the machine is the baseline of the platform, not the one that compiles; functions of the user
need no decorator; a raised exception is data (faults.py) instead of a pickle; memory comes from an arena that
is empty again after each call (cpp_core/kernel_runtime.h), so that nothing counts references; and only the
last library, where all is inlined, is optimised.
"""

from __future__ import annotations

import json
import operator
import platform
import re
import sys
import types as python_types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import callconv, cgutils, codegen, cpu, dispatcher, lowering, types, typing
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, PassManager, register_pass
from numba.core.ir import Assign, Const, Expr, Global, Var
from numba.core.registry import CPUDispatcher, CPUTarget
from numba.core.registry import cpu_target as numbas_target
from numba.core.runtime import rtsys
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_registry
from numba.core.typed_passes import NativeLowering
from numba.core.untyped_passes import InlineClosureLikes

from envpool_protocol import origins

TARGET = "envpool_kernel"
_BASELINE = "x86-64-v2" if platform.machine() in ("x86_64", "AMD64") else ""  # "": LLVM's generic one
_NUMBA = str(Path(numba.__file__).parent)
_I8P, _I32, _I64 = ir.IntType(8).as_pointer(), ir.IntType(32), ir.IntType(64)


# Object code


class KernelLibrary(codegen.AOTCodeLibrary):
    """A library that is optimised only where all has been linked into it: where it exports functions."""

    exported: Sequence[str] = ()
    _final_module: Any

    def add_ir_module(self, ir_module: Any) -> None:
        self._raise_if_finalized()
        text = cgutils.normalize_ir_text(str(ir_module))
        for intrinsic, ours in _INSTEAD.items():
            text = text.replace(f'@"llvm.{intrinsic}.f64"', f'@"envpool_kernel_{ours}"')
        module = llvm.parse_assembly(text)
        module.name = ir_module.name
        module.verify()
        self.add_llvm_module(module)

    def add_llvm_module(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout
        self._final_module.link_in(module)

    def _optimize_final_module(self) -> None:
        if not self.exported:
            return
        self._keep_to_itself()
        self._optimize()
        self._final_module = llvm.parse_assembly(_single_sines(str(self._final_module)))
        if "@envpool_kernel_alloc(" not in str(self._final_module).replace("declare noalias", ""):
            self._final_module.link_in(llvm.parse_assembly(_NOTHING_TO_EMPTY))
            self._keep_to_itself()
            self._optimize()

    def _keep_to_itself(self) -> None:
        for one in (*self._final_module.functions, *self._final_module.global_variables):
            if not one.is_declaration:
                hidden = one.name in self.exported
                one.linkage, one.visibility = ("external", "hidden") if hidden else ("internal", "default")

    def _optimize(self) -> None:
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)

    def undefined(self) -> list[str]:
        """The functions that the optimised code calls and does not have."""
        text = "\n".join(line for line in str(self._final_module).splitlines() if "declare" not in line)
        return sorted(
            one.name
            for one in self._final_module.functions
            if one.is_declaration and not one.name.startswith("llvm.") and _named(one.name) in text
        )


# LLVM makes x * x of pow(x, 2.0), whose last bit is another one; Python does not. Of the others: runtime.ll.
_INSTEAD = {"pow": "pow", "sin": "sin", "cos": "cos"}
_FUNCTION = re.compile(r"^define .*?^}$", re.M | re.S)
_PAIR = re.compile(r"^  (%\S+) = .*call .*@envpool_kernel_sincos\((.*?double) (\S+)\).*\n", re.M)


def _single_sines(text: str) -> str:
    """A module's text, in which sine and cosine of a number that only one is used of are a call of that."""
    declared = "".join(
        f"\ndeclare double @{name}(double)" for name in ("sin", "cos") if f"@{name}(" not in text
    )
    return _FUNCTION.sub(lambda function: _single_sines_of(function[0]), text) + declared + "\n"


def _single_sines_of(function: str) -> str:
    for pair, _, number in _PAIR.findall(function):
        taken = rf"extractvalue {{ double, double }} {re.escape(pair)}, (\d)$"
        sides = set(re.findall(taken, function, re.M))
        if len(sides) == 1:
            name = ("sin", "cos")[int(sides.pop())]
            function = re.sub(taken, f"call double @{name}(double {number})", function, flags=re.M)
            function = re.sub(
                rf"^  {re.escape(pair)} = .*\n",
                f"  {pair} = bitcast double {number} to double\n",
                function,
                flags=re.M,
            )
    return function


def _named(function: str) -> str:
    return f"@{function}(" if re.fullmatch(r"[\w.$]+", function) else f'@"{function}"('


_NOTHING_TO_EMPTY = "define void @envpool_kernel_end() alwaysinline { ret void }"


class KernelCodegen(codegen.AOTCPUCodegen):
    _library_class = KernelLibrary


def runtime_library(context: Any) -> KernelLibrary:
    """What Numba's code calls to allocate, without counting references: an arena is emptied as a whole."""
    library: KernelLibrary = context.codegen().create_library("envpool_runtime")
    library.add_llvm_module(llvm.parse_assembly(Path(__file__).with_name("runtime.ll").read_text("utf-8")))
    library.finalize()
    return library


# Exceptions


class KernelCallConv(callconv.CPUCallConv):
    """A raised exception is what `envpool_kernel_raise` returns: a static text, values, and lines."""

    def set_static_user_exc(
        self, builder: Any, exc: Any, exc_args: Any = None, loc: Any = None, func_name: Any = None
    ) -> None:
        self._raise(builder, exc, exc_args or (), loc)

    def set_dynamic_user_exc(
        self, builder: Any, exc: Any, exc_args: Any, nb_types: Any, loc: Any = None, func_name: Any = None
    ) -> None:
        self._raise(builder, exc, exc_args or (), loc)

    def return_status_propagate(self, builder: Any, status: Any) -> None:
        place = self._place(None)
        if place is not None:
            with builder.if_then(status.is_error, likely=False):
                text = self.context.insert_const_string(builder.module, json.dumps(place))
                self._call(builder, "envpool_kernel_trace", ir.VoidType(), status.excinfoptr, text)
        super().return_status_propagate(builder, status)

    def _raise(self, builder: Any, exc: Any, exc_args: Any, loc: Any) -> None:
        described, values = [], []
        for value in exc_args:
            if isinstance(value, ir.Value):
                kind = _wire_kind(value.type)
                described.append({"value": kind})
                values += [_as_word(builder, value, kind)] if kind else []
            else:
                described.append({"constant": value if _is_plain(value) else str(value)})
        text = {
            "module": module_name(getattr(exc, "__module__", "builtins")),
            "class": getattr(exc, "__qualname__", "RuntimeError"),
            "args": described,
            "place": self._place(loc),
        }
        what = self.context.insert_const_string(builder.module, json.dumps(text))
        raised = self._call(builder, "envpool_kernel_raise", _I8P, what)
        for word in values:
            self._call(builder, "envpool_kernel_value", ir.VoidType(), raised, word)
        target = self._get_excinfo_argument(builder.function)
        stored = builder.store(builder.bitcast(raised, target.type.pointee), target)
        stored.set_metadata("numba_exception_output", builder.module.add_metadata([ir.IntType(1)(1)]))

    def _call(self, builder: Any, name: str, returned: Any, *arguments: Any) -> Any:
        arguments = tuple(
            builder.bitcast(one, _I8P) if isinstance(one.type, ir.PointerType) else one for one in arguments
        )
        signature = ir.FunctionType(returned, [one.type for one in arguments])
        function = cgutils.get_or_insert_function(builder.module, signature, name)
        function.attributes.add("cold")
        return builder.call(function, arguments)

    def _place(self, loc: Any) -> list[Any] | None:
        """The line of the user's that is being compiled (faults.py), or None inside of Numba's code."""
        if _place is None:
            return None
        module, file, line, name = _place
        if loc is not None and str(loc.filename) == file:
            line = loc.line
        return [module_name(module), Path(file).name, line, name]


def module_name(module: str) -> str:
    """What anybody would import a module by: not `__main__`, nor what a record's file was imported as."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return module if file is None else origins.importable_as(Path(file))[0]


def _wire_kind(kind: Any) -> str:
    if isinstance(kind, ir.IntType):
        return "bool" if kind.width == 1 else "int"
    return "float" if isinstance(kind, ir.DoubleType | ir.FloatType) else ""


def _as_word(builder: Any, value: Any, kind: str) -> Any:
    if kind == "float":
        wide = builder.fpext(value, ir.DoubleType()) if isinstance(value.type, ir.FloatType) else value
        return builder.bitcast(wide, _I64)
    return builder.zext(value, _I64) if kind == "bool" else builder.sext(value, _I64)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


# Contexts


class KernelContext(cpu.CPUContext):
    """The target context."""

    allow_dynamic_globals = False
    enable_boundscheck = False  # whatever $NUMBA_BOUNDSCHECK says

    def init(self) -> None:
        self.is32bit = False
        self._internal_codegen = KernelCodegen("envpool_kernel", _BASELINE)
        self._runtime: KernelLibrary | None = None

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

    def post_lowering(self, mod: Any, library: Any) -> None:
        root = _descriptor.target_context
        if root._runtime is None:
            root._runtime = runtime_library(self)
        library.add_linking_library(root._runtime)

    def get_executable(self, library: Any, fndesc: Any, env: Any) -> Any:
        return object()  # nothing that can be called here: a key for the definition


class KernelTyping(typing.Context):
    """The typing context. `checked` is how functions that are met are compiled."""

    def resolve_value_type(self, val: Any) -> Any:
        from envpool_protocol.compiled import self_types

        self_types.refuse_what_needs_python(val)
        if isinstance(val, dispatcher.Dispatcher) and not isinstance(val, KernelDispatcher):
            return types.Dispatcher(compiled(val.py_func))
        try:
            return super().resolve_value_type(val)
        except ValueError:
            if isinstance(val, python_types.FunctionType):
                return types.Dispatcher(compiled(val))
            if isinstance(val, type):
                return self_types.ClassConstant(val)
            raise

    def resolve_setattr(self, target: Any, attr: str, value: Any) -> Any:
        from envpool_protocol.compiled import self_types

        if isinstance(target, self_types.StateType):
            return self_types.set_signature(self, target, attr, value)
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


# The pipeline


class DictMaker:
    """What a dict display is compiled to: a call of this. `keys`: the constants; None for what is none."""

    def __init__(self, keys: tuple[Any, ...]) -> None:
        self.keys = keys


@register_pass(mutates_CFG=False, analysis_only=False)
class DictDisplays(FunctionPass):
    """`{"grid": a, "pos": b}` as a value with fields: Numba's own dicts hold values of one type, and hash."""

    _name = "envpool_dict_displays"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        func_ir, changed = state.func_ir, False
        for block in func_ir.blocks.values():
            body = []
            for statement in block.body:
                if isinstance(statement, Assign) and _is_build_map(statement.value):
                    keys = tuple(_constant(func_ir, key) for key, _ in statement.value.items)
                    loc, scope = statement.loc, statement.target.scope
                    maker = Var(scope, f"$envpool_dict.{statement.target.name}", loc)
                    body.append(Assign(Global("dict", DictMaker(keys), loc), maker, loc))
                    values = [value for _, value in statement.value.items]
                    statement.value = Expr.call(maker, values, (), loc)
                    func_ir._definitions[maker.name] = [body[-1].value]
                    func_ir._definitions[statement.target.name] = [statement.value]
                    changed = True
                body.append(statement)
            block.body = body
        return changed


def _is_build_map(value: Any) -> bool:
    return isinstance(value, Expr) and value.op == "build_map"


def _constant(func_ir: Any, var: Any) -> Any:
    try:
        found = func_ir.get_definition(var)
    except KeyError:
        return None
    return found.value if isinstance(found, Const) else None


_place: tuple[str, str, int, str] | None = None  # module, file, line and function that are being lowered


class KernelLower(lowering.Lower):
    """Knows which line of the user's it compiles."""

    def lower(self) -> None:
        global _place
        outer, _place = _place, None
        file = self.func_ir.loc.filename
        self._is_theirs = not file.startswith((_NUMBA, "<"))
        try:
            super().lower()
        finally:
            _place = outer

    def lower_inst(self, inst: Any) -> None:
        global _place
        if self._is_theirs:
            function = self.func_ir.func_id
            _place = (function.modname, self.func_ir.loc.filename, self.loc.line, function.func_qualname)
        super().lower_inst(inst)

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        power = op in (operator.pow, operator.ipow)
        if not (power and isinstance(resty, types.Float)):
            return super().lower_binop(resty, expr, op)
        signature = self.fndesc.calltypes[expr]
        sides = [(self.typeof(v.name), self.loadvar(v.name)) for v in (expr.lhs, expr.rhs)]
        wide = typing.signature(types.float64, types.float64, types.float64)
        function = self.context.get_function(operator.pow, wide)
        values = [self.context.cast(self.builder, value, kind, types.float64) for kind, value in sides]
        result = function(self.builder, values)
        return self.context.cast(self.builder, result, types.float64, signature.return_type)


@register_pass(mutates_CFG=True, analysis_only=False)
class KernelLowering(NativeLowering):
    _name = "envpool_lowering"

    @property
    def lowering_class(self) -> Any:
        return KernelLower


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
