"""Why something does not compile: a BuildError with the hook, the line and the reason, then Numba's text."""

from __future__ import annotations

import contextlib
import inspect
import linecache
import math
import random
import re
import traceback
import types as python_types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import errors

from envpool_protocol.errors import BuildError, EnvPoolError

MARK = "\u2063"  # around a refusal of ours, in the midst of Numba's text
_NOT_THE_USERS = (Path(numba.__file__).resolve().parent, Path(__file__).resolve().parents[1])
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_PLACE = re.compile(r'File "([^"]+)", line (\d+)|(?:Raised from|" at) (\S+) \((\d+)\)')
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
    r"(Cannot bind .*, \*, .*)",
)
_HEADINGS = ("Failed in", "During", "- Resolution failure")  # lines around a reason
# What to do, by a word of the reason.
_ADVICE = (
    ("Untyped global name", "it is a Python object, which compiled hooks cannot use"),
    ("imprecise type", "an empty list has no type: use an array"),
    ("__setitem__' of type {", "a dict is for what a hook returns; use an array"),
    ("none does not fit", "the hook returns nothing"),
    ("unify", "give it one type: what is an int in one branch and something else in another has two"),
    ("exception_match", "of handlers, only `except Exception:` can be compiled"),
    ("setitem(readonly", "the action and constant arrays are read-only; write into a copy of it"),
    ("Cannot bind", "a keyword-only parameter cannot be compiled; remove the `*` before it"),
    (
        "no attribute 'args'",
        "an array cannot be changed in place by a wider dtype; write self.x = self.x + y",
    ),
    ("IMPORT_NAME", "import it at the top of the file"),
    ("yield in a closure", "write a loop"),
    ("is required for linear algebra", "np.dot, @ and np.linalg call a library; write the loop"),
    ("list(", "return an array, such as np.array([...], np.float32), or a tuple"),
    ("OptionalType(", "it is None on some path"),
)


def refuse(text: str) -> errors.TypingError:
    """A refusal in our words."""
    return errors.TypingError(f"{MARK}{text}{MARK}")


_NEEDS_PYTHON: dict[Any, str] = {
    print: "print needs the interpreter; to print, make the pool with compiled=False, or run the env alone",
    super: "super() needs the interpreter; name the class: Base._step_envpool(self, action)",
    pow: "pow() is not compiled as Python has it; write x ** y",
}


def refuse_what_needs_python(value: Any) -> None:
    """Refuse what Numba would compile to calls into Python, or to something else than it looks like."""
    if isinstance(value, type | python_types.BuiltinFunctionType) and value in _NEEDS_PYTHON:
        raise ValueError(f"{MARK}{_NEEDS_PYTHON[value]}{MARK}")  # which Numba gives the line
    if value is math.hypot:
        raise refuse(
            "the last bit of math.hypot is not libm's; write np.hypot(x, y) or math.sqrt(x * x + y * y)"
        )
    if isinstance(getattr(value, "__self__", None), np.random.RandomState | random.Random):
        name = f"{'random' if isinstance(value.__self__, random.Random) else 'np.random'}.{value.__name__}"
        raise refuse(
            f"{name} draws from a generator of the process; declare 'random': envpool_protocol.random.Random "
            "and draw from self.random"
        )


@contextlib.contextmanager
def of_hook(cls: type, hook: str) -> Iterator[None]:
    """What Numba refuses in here is of this hook."""
    try:
        yield
    except EnvPoolError:
        raise
    except Exception as error:  # what Numba does not know may end in any
        raise _told(cls, hook, error) from None


@contextlib.contextmanager
def explained(cls: type) -> Iterator[None]:
    """What Numba refuses in here is of this class."""
    with of_hook(cls, ""):
        yield


def _told(cls: type, hook: str, error: Exception) -> BuildError:
    text = _ESCAPES.sub("", str(error))
    place = _place(text) or _hook_place(cls, hook, text)
    if not isinstance(error, errors.NumbaError):
        text = f"{type(error).__name__}: {text}\n\n{''.join(traceback.format_tb(error.__traceback__))}"
    what = f"{cls.__qualname__}.{hook}" if hook else cls.__qualname__
    where = "" if place is None else f" ({Path(place[0]).name}:{place[1]})"
    line = "" if place is None else linecache.getline(*place).strip()
    first = f"{what} does not compile{where}{f': {line}' if line else ''}"
    plain = text.replace(MARK, "")
    return BuildError(f"{first}\n  {_reason(text)}\n\nNumba's whole text:\n{plain.strip()}", plain)


def _place(text: str) -> tuple[str, int] | None:
    """The first line of the user's that the text names: the innermost."""
    named = ((file or other, int(line or number)) for file, line, other, number in _PLACE.findall(text))
    found = [(file, line) for file, line in named if Path(file).is_file()]
    return next(
        (one for one in found if not any(map(Path(one[0]).resolve().is_relative_to, _NOT_THE_USERS))), None
    )


def _hook_place(cls: type, hook: str, text: str) -> tuple[str, int] | None:
    """The hook's first line with a name that the text quotes, else its very first."""
    with contextlib.suppress(OSError, TypeError, AttributeError):
        function = inspect.unwrap(getattr(cls, hook))
        lines, first = inspect.getsourcelines(function)
        quoted = re.search(r"(?:name|attribute) '(\w+)'", text)
        inside = (n for n, line in enumerate(lines) if quoted and re.search(rf"\b{quoted[1]}\b", line))
        return function.__code__.co_filename, first + next(inside, 0)
    return None


def _reason(text: str) -> str:
    reason = _plain_reason(text)
    return reason + next((f"; {advice}" for word, advice in _ADVICE if word in reason), "")


def _plain_reason(text: str) -> str:
    ours = re.findall(f"{MARK}([^{MARK}]+){MARK}", text)
    if ours:
        return " ".join(ours[-1].split())
    lines = [line.strip() for line in text.splitlines() if line.strip() and 'File "' not in line]
    lines = [line for line in lines if not line.startswith(_HEADINGS)]
    for pattern in _PATTERNS:
        found = re.findall(pattern, "\n".join(lines))
        if found:
            return _sentence(found[-1])
    call = re.search(
        r"No implementation of function (.*?) found for signature:\s*>>> (\w+)\((.*?)\)\n", text, re.S
    )
    if call:
        return f"there is no compiled {call[2]}({call[3]})"
    return _sentence(next(iter(lines), text[:200]))


def _sentence(line: str) -> str:
    return " ".join(line.partition(" Raised from ")[0].split()).rstrip(".")
