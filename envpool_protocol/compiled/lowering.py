"""How functions are lowered to LLVM: each knows its lines, and what it raises is data (faults.py)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import callconv, cgutils, lowering
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

from envpool_protocol import origins
from envpool_protocol.compiled import arithmetic

_NUMBA = str(Path(numba.__file__).parent)
_I8P, _I64 = ir.IntType(8).as_pointer(), ir.IntType(64)

_place: tuple[str, str, int, str] | None = None  # module, file, line and function that are being lowered


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
        ours = arithmetic.lower_binop(self, resty, expr, op) if self._is_theirs else None
        return super().lower_binop(resty, expr, op) if ours is None else ours

    def lower_expr(self, resty: Any, expr: Any) -> Any:
        if expr.op == "unary" and self._is_theirs:
            arithmetic.check_unary(expr.fn, self.typeof(expr.value.name))
        return super().lower_expr(resty, expr)


@register_pass(mutates_CFG=True, analysis_only=False)
class KernelLowering(NativeLowering):
    _name = "envpool_lowering"

    @property
    def lowering_class(self) -> Any:
        return KernelLower
