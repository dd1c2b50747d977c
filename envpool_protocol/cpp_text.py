"""Names and texts of the user's, and dtypes, as C++ writes them."""

from __future__ import annotations

import re

from envpool_protocol.spec import DType

_CHUNK = 8192  # longest piece of one string literal; compilers guarantee 65,536 for the whole


def c_string(text: str) -> str:
    """`text` as a C++ string literal of its UTF-8 bytes."""
    pieces = [text[i : i + _CHUNK] for i in range(0, len(text), _CHUNK)] or [""]
    return " ".join('"' + "".join(_c_byte(byte) for byte in piece.encode()) + '"' for piece in pieces)


def _c_byte(byte: int) -> str:
    char = chr(byte)
    return char if char.isascii() and char.isprintable() and char not in '"\\?' else f"\\{byte:03o}"


def c_dtype(dtype: DType) -> str:
    """The engine's enumerator: `kFloat32` for float32, `kUInt8` for uint8."""
    return "kUI" + dtype.name[2:] if dtype.name.startswith("uint") else "k" + dtype.name.capitalize()


def identifier(name: str) -> str:
    """`name` with `_x2d_` for each `-`, and so on: as part of a C++ name. No two names become the same."""
    return _ESCAPED.sub(lambda found: f"_x{ord(found[0][0]):x}_{found[0][1:]}", name)


# A character that no identifier has, and an underscore that would look like the start of such an escape.
_ESCAPED = re.compile(r"[^A-Za-z0-9_]|_x(?=[0-9a-f]+[^A-Za-z0-9])")


def module_name(name: str) -> str:
    """The name of the generated Python module of the env `name`."""
    return f"_{identifier(name)}_wrap"


def class_names(name: str) -> list[str]:
    """The names of the raw classes in it: the spec's and the pool's."""
    return [f"_{identifier(name)}{kind}" for kind in ("Spec", "Pool")]
