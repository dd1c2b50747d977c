"""Why something does not compile: a BuildError with the hook, the line and the reason, then Numba's text."""

from __future__ import annotations

import contextlib
import inspect
import linecache
import re
from collections.abc import Iterator
from pathlib import Path

from numba.core import errors

from envpool_protocol.compiled.self_types import MARK
from envpool_protocol.errors import BuildError

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_PLACE = re.compile(r'File "([^"]+)", line (\d+)')
_PATTERNS = (
    r"(Untyped global name '[^']+')",
    r"(NameError: name '[^']+' is not defined)",
    r"(Unknown attribute '[^']+' of type .*)",
    r"(Cannot unify .*)",
    r"(can't unify return type from the following types: .*)",
    r"(Can't unify return type.*)",
    r"(Unsupported (?:Python )?functionality.*|.*[Uu]nsupported opcode.*|.*unsupported.*)",
    r"(NumbaNotImplementedError: .*)",
    r"(Invalid use of .*)",
    r"(No conversion from .*)",
)
_WORDS = (
    ("Untyped global name", "it is a Python object, which compiled hooks cannot use"),
    ("unify", "give the name one type: what is an int in one branch and something else in another has two"),
)


@contextlib.contextmanager
def of_hook(cls: type, hook: str) -> Iterator[None]:
    """What Numba refuses in here is of this hook."""
    try:
        yield
    except errors.NumbaError as error:
        raise _told(cls, f"{cls.__qualname__}.{hook}", _hook_place(cls, hook), error) from None


@contextlib.contextmanager
def explained(cls: type) -> Iterator[None]:
    """What Numba refuses in here is of this class."""
    try:
        yield
    except errors.NumbaError as error:
        raise _told(cls, cls.__qualname__, None, error) from None


def _told(cls: type, what: str, otherwise: tuple[str, int] | None, error: Exception) -> BuildError:
    text = _ESCAPES.sub("", str(error))
    place = _place(text) or otherwise
    where = "" if place is None else f" ({Path(place[0]).name}:{place[1]})"
    line = "" if place is None else linecache.getline(*place).strip()
    first = f"{what} does not compile{where}{f': {line}' if line else ''}"
    plain = text.replace(MARK, "")
    return BuildError(f"{first}\n  {_reason(text)}\n\nNumba's whole text:\n{plain.strip()}", plain)


def _place(text: str) -> tuple[str, int] | None:
    """The innermost line of the user's that the text names."""
    found = [(file, int(line)) for file, line in _PLACE.findall(text) if Path(file).is_file()]
    theirs = [one for one in found if f"{Path('numba')}/" not in one[0] and "site-packages" not in one[0]]
    return theirs[-1] if theirs else None


def _hook_place(cls: type, hook: str) -> tuple[str, int] | None:
    with contextlib.suppress(OSError, TypeError, AttributeError):
        function = inspect.unwrap(getattr(cls, hook))
        return function.__code__.co_filename, function.__code__.co_firstlineno
    return None


def _reason(text: str) -> str:
    ours = re.findall(f"{MARK}([^{MARK}]+){MARK}", text)
    if ours:
        return " ".join(ours[-1].split())
    for pattern in _PATTERNS:
        found = re.findall(pattern, text)
        if found:
            reason = " ".join(found[-1].split())
            return reason + next((f"; {more}" for word, more in _WORDS if word in reason), "")
    call = re.search(
        r"No implementation of function (.*?) found for signature:\s*>>> (\w+)\((.*?)\)\n", text, re.S
    )
    if call:
        return f"there is no compiled {call[2]}({call[3]})"
    lines = [line.strip() for line in text.splitlines() if line.strip() and "File " not in line]
    return next((line for line in lines if not line.startswith(("Failed in", "During"))), text[:200])
