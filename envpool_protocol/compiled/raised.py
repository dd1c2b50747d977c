"""What machine code left behind when a hook raised, as the exception that the interpreter would have raised.

Reads `Raised` of cpp_core/kernel_runtime.h; Numba is not needed.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import struct
import sys
from dataclasses import dataclass
from typing import Any

_MAX_VALUES, _MAX_LINES = 6, 8


class _Raised(ctypes.Structure):
    _fields_ = (
        ("what", ctypes.c_char_p),
        ("num_values", ctypes.c_int32),
        ("num_lines", ctypes.c_int32),
        ("values", ctypes.c_int64 * _MAX_VALUES),
        ("lines", ctypes.c_char_p * _MAX_LINES),
    )


@dataclass(frozen=True)
class Raised:
    """An exception of a compiled hook.

    Attributes:
        exception: of the class and with the arguments that the hook gave it.
        traceback: the text that Python would print, with the lines of the class's file.
    """

    exception: BaseException
    traceback: str


def decode(pointer: int, cls: type | None = None) -> Raised:
    """What a kernel's `*error` points to. `cls` is the env's class, near which its own exceptions are found."""
    slot = _Raised.from_address(pointer)
    what = json.loads(slot.what)
    values = iter(slot.values[: slot.num_values])
    arguments = [_argument(one, values) for one in what["args"]]
    exception = _made(what["module"], what["class"], arguments, cls)
    # Calls are noted where a frame is left, so the frame that raised is the first.
    places = [what["place"], *(json.loads(line) for line in slot.lines[: slot.num_lines])]
    return Raised(exception, _text(exception, [place for place in places if place], cls))


def _argument(described: dict[str, Any], values: Any) -> Any:
    if "constant" in described:
        return described["constant"]
    kind = described["value"]
    if not kind:
        return "<a value that compiled hooks do not carry out>"
    word = next(values, 0)
    if kind == "float":
        return struct.unpack("d", struct.pack("q", word))[0]
    return bool(word) if kind == "bool" else word


def _made(module: str, name: str, arguments: list[Any], cls: type | None) -> BaseException:
    for place in (module, getattr(cls, "__module__", module)):
        try:
            found: Any = sys.modules.get(place) or importlib.import_module(place)
            for part in name.split("."):
                found = getattr(found, part)
            exception: BaseException = found(*arguments)
            return exception
        except Exception:  # not importable here, or it takes other arguments: its name and theirs remain
            continue
    return RuntimeError(f"{name}({', '.join(map(repr, arguments))})")


def _text(exception: BaseException, places: list[list[Any]], cls: type | None) -> str:
    file = getattr(sys.modules.get(getattr(cls, "__module__", "")), "__file__", None) or ""
    lines = ["Traceback (most recent call last, in compiled hooks):"]
    for name, line, function in reversed(places):
        path = file if file.endswith(f"/{name}") else name
        lines.append(f'  File "{path}", line {line}, in {function}')
    message = str(exception)
    lines.append(type(exception).__name__ + (f": {message}" if message else ""))
    return "\n".join(lines)
