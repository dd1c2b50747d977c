"""Numbers in hooks: which fit a dtype, and Python's and NumPy's arithmetic where Numba has its own.

x ** y          in double precision, as libm's pow; of integers, a negative exponent raises
x << n, x >> n  of n < 0 raise; n of 64 and more leaves nothing, where machine code has no rule
~flag           is refused: Python's is an integer
u // n, u % n   of a uint64 and a signed integer are refused: Numba takes both as signed
np.mod(x, y), np.floor_divide(x, y)   and `%`, `//` of float arrays: exact, and with NumPy's signs of zeros
float(x), math.sin(x), …   of a float32 are in double precision
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types, typing
from numba.cpython.numbers import real_divmod

from envpool_protocol.compiled.refusals import refuse
from envpool_protocol.compiled.state import FITS

_KINDS = ((types.Boolean, "b"), (types.Integer, "i"), (types.Float, "f"))
_POWERS = (operator.pow, operator.ipow)
_LEFT, _RIGHT = (operator.lshift, operator.ilshift), (operator.rshift, operator.irshift)
_DIVISIONS = (operator.floordiv, operator.ifloordiv, operator.mod, operator.imod)
_OF_DOUBLES = {float, *filter(callable, vars(math).values())}


def kind_of(kind: Any) -> str | None:
    """b, i or f for a number's type, else None."""
    kind = types.unliteral(kind)
    return next((letter for known, letter in _KINDS if isinstance(kind, known)), None)


def fits(kind: Any, dtype: np.dtype[Any]) -> bool:
    """Whether numbers of a type are kept in that dtype without another kind of cast than a narrower one."""
    letter = kind_of(kind)
    return letter is not None and letter in FITS[dtype.kind]


def taken_as(function: Any, given: Sequence[Any]) -> tuple[Any, ...]:
    """The types that a function takes arguments of these types as."""
    doubles = isinstance(function, types.Function) and function.typing_key in _OF_DOUBLES
    return tuple(types.float64 if doubles and kind == types.float32 else kind for kind in given)


def lower_binop(lower: Any, result: Any, expr: Any, op: Any) -> Any:
    """The value of an operation that is not Numba's, of type `result`; None of any other.

    Args:
        lower: the function that is being lowered.
        result: the type of the value.
        expr, op: the operation: its operands, and which it is.

    Raises:
        numba.core.errors.TypingError: a refusal.
    """
    sides = [(types.unliteral(lower.typeof(v.name)), lower.loadvar(v.name)) for v in (expr.lhs, expr.rhs)]
    if op in _POWERS and isinstance(result, types.Float):
        return _float_power(lower, result, sides)
    if not all(isinstance(kind, types.Integer) for kind, _ in sides):
        return None
    if op in _POWERS:
        _raise_if_negative(lower, *sides[1], "an int to a negative power is a float; write float(x) ** y")
    if op in _DIVISIONS and _is_mixed(*(kind for kind, _ in sides)):
        raise refuse("a uint64 and a signed integer are divided; write np.uint64(...) of both")
    if op in _LEFT + _RIGHT:
        _raise_if_negative(lower, *sides[1], "negative shift count")
        return _shift(lower, result, sides, op in _LEFT)
    return None


def check_unary(op: Any, kind: Any) -> None:
    """Refuse an operation on a type that Python computes otherwise."""
    if op is operator.invert and isinstance(types.unliteral(kind), types.Boolean):
        raise refuse("~ of a bool is an int in Python; write `not`")


def _float_power(lower: Any, result: Any, sides: Any) -> Any:
    context, builder = lower.context, lower.builder
    function = context.get_function(operator.pow, typing.signature(*[types.float64] * 3))
    power = function(builder, [context.cast(builder, value, kind, types.float64) for kind, value in sides])
    return context.cast(builder, power, types.float64, result)


def _is_mixed(one: Any, two: Any) -> bool:
    return one.signed != two.signed and types.uint64 in (one, two)


def _raise_if_negative(lower: Any, kind: Any, value: Any, message: str) -> None:
    if kind.signed:
        negative = lower.builder.icmp_signed("<", value, ir.Constant(value.type, 0))
        with lower.builder.if_then(negative, likely=False):
            lower.context.call_conv.return_user_exc(lower.builder, ValueError, (message,), loc=lower.loc)


def _shift(lower: Any, result: Any, sides: Any, left: bool) -> Any:
    context, builder = lower.context, lower.builder
    value, count = (context.cast(builder, value, kind, result) for kind, value in sides)
    last = ir.Constant(value.type, result.bitwidth - 1)
    beyond = builder.icmp_unsigned(">", count, last)
    if not left and result.signed:
        return builder.ashr(value, builder.select(beyond, last, count))
    shifted = (builder.shl if left else builder.lshr)(value, count)
    return builder.select(beyond, ir.Constant(value.type, 0), shifted)


def ufunc_loops(ufunc: Any, numbas: dict[str, Any]) -> dict[str, Any]:
    """The loops of a ufunc, those of floats as NumPy has them."""
    ours = _LOOPS.get(ufunc)
    return numbas if ours is None else {**numbas, "ff->f": ours, "dd->d": ours}


def _floor_divide(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    by_zero = builder.fcmp_ordered("==", args[1], ir.Constant(args[1].type, 0.0))
    return builder.select(by_zero, builder.fdiv(*args), real_divmod(context, builder, *args)[0])


def _remainder(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return real_divmod(context, builder, *args)[1]


_LOOPS = {np.floor_divide: _floor_divide, np.remainder: _remainder}
