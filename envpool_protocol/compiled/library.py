"""Object code that needs neither Python nor Numba: how it is optimised, and what it may call."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba.core import cgutils, codegen

from envpool_protocol.compiled.refusals import refuse

_BASELINE = "x86-64-v2" if platform.machine() in ("x86_64", "AMD64") else ""  # "": LLVM's generic one


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


def new_codegen() -> KernelCodegen:
    """Numba's code generator for the baseline of the platform."""
    return KernelCodegen("envpool_kernel", _BASELINE)


def runtime_library(context: Any) -> KernelLibrary:
    """What Numba's code calls to allocate, without counting references: an arena is emptied as a whole."""
    library: KernelLibrary = context.codegen().create_library("envpool_runtime")
    library.add_llvm_module(llvm.parse_assembly(Path(__file__).with_name("runtime.ll").read_text("utf-8")))
    library.finalize()
    return library


def emitted(library: Any, names: Sequence[str]) -> bytes:
    """Link and optimise all, keeping only `names`, and make the object file."""
    library.exported = names
    code: bytes = library.emit_native_object()
    strange = [name for name in library.undefined() if name not in _KNOWN and not name.startswith(_OURS)]
    if strange:
        raise refuse(f"the hooks call what only a process with Numba has: {', '.join(strange)}")
    return code


_OURS = "envpool_kernel_"
_RUNTIME = "numba_attempt_nocopy_reshape"  # kernel_runtime.h
_LIBC = "memcpy memmove memset memcmp strlen abort bcmp"
_LIBM = """
    acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs floor
    fmod frexp hypot ldexp lgamma log log10 log1p log2 modf nearbyint nextafter pow remainder rint round
    sin sincos sinh sqrt tan tanh tgamma trunc
"""
_KNOWN = {_RUNTIME, *_LIBC.split(), *(f"{name}{width}" for name in _LIBM.split() for width in ("", "f"))}
