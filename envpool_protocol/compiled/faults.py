"""What machine code left behind when a hook raised, as the exception that the interpreter would have raised.

Reads `EnvpoolRaised` of cpp_core/kernel_abi.h; Numba is not needed.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import struct
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

_MAX_VALUES, _MAX_LINES = 6, 8


class _Raised(ctypes.Structure):
    _fields_ = (
        ("what", ctypes.c_char_p),
        ("num_values", ctypes.c_int32),
        ("num_lines", ctypes.c_int32),
        ("values", ctypes.c_int64 * _MAX_VALUES),
        ("lines", ctypes.c_char_p * _MAX_LINES),
    )


class _Place(NamedTuple):
    """A line of the user's: the module, the file's name without its folder, line and function."""

    module: str
    file: str
    line: int
    function: str


def decode(address: int) -> BaseException:
    """The exception that a kernel's `*error` points to.

    It has the class and the arguments that the hook gave it, and a traceback through the lines of the hook.
    A class that cannot be found, or made of these arguments, becomes a RuntimeError that names it.
    """
    raised = _Raised.from_address(address)
    what = json.loads(raised.what)
    values = iter(raised.values[: raised.num_values])
    exception = _made(what["module"], what["class"], [_argument(one, values) for one in what["args"]])
    # A frame notes its line when it is left: the innermost is first.
    places = [what["place"], *map(json.loads, raised.lines[: raised.num_lines])]
    return _with_traceback(exception, [_Place(*place) for place in places if place])


def _argument(described: dict[str, Any], values: Iterator[int]) -> Any:
    if "constant" in described:
        return described["constant"]
    kind, word = described["value"], next(values, 0)
    if kind == "float":
        return struct.unpack("d", struct.pack("q", word))[0]
    return bool(word) if kind == "bool" else word


def _made(module: str, name: str, arguments: list[Any]) -> BaseException:
    try:
        found: Any = _module(module)
        for part in name.split("."):
            found = getattr(found, part)
        exception: BaseException = found(*arguments)
        return exception
    except Exception:  # such as a class of a notebook that is gone
        return RuntimeError(f"{name}({', '.join(map(repr, arguments))})")


def _with_traceback(exception: BaseException, places: list[_Place]) -> BaseException:
    def raise_it() -> None:
        raise exception

    call: Callable[[], None] = raise_it
    for place in places:
        call = _frame(place, call)
    try:
        call()
    except BaseException as caught:
        # Without this function, and without raise_it.
        below = caught.__traceback__ and caught.__traceback__.tb_next
        last = below
        for _ in places[1:]:
            last = last and last.tb_next
        if last is not None:
            last.tb_next = None
        return caught.with_traceback(below)
    return exception


def _frame(place: _Place, call: Callable[[], None]) -> Callable[[], None]:
    """A function that calls `call`, and is at that place where tracebacks are concerned."""

    def frame() -> None:
        call()

    code, name = frame.__code__, place.function.rpartition(".")[2]
    inside = max(line or 0 for *_, line in code.co_lines()) - code.co_firstlineno
    frame.__code__ = code.replace(
        co_filename=_file(place),
        co_firstlineno=place.line - inside,
        co_name=name,
        co_qualname=place.function,
    )
    return frame


def _file(place: _Place) -> str:
    try:
        return str(_module(place.module).__file__)
    except Exception:  # it is gone: its name remains
        return place.file


def _module(name: str) -> ModuleType:
    """A module by the name that it would be imported by; it may have been run, or imported as another."""
    if name in sys.modules:
        return sys.modules[name]
    file = f"/{name.replace('.', '/')}.py"
    loaded = (module for module in list(sys.modules.values()) if _path(module).endswith(file))
    return next(loaded, None) or importlib.import_module(name)


def _path(module: Any) -> str:
    return str(getattr(module, "__file__", None))
