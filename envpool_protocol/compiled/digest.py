"""A hash of all that compiled hooks depend on, found without Numba: what changes it makes them compile again.

Byte code, constants, defaults and closures of the class's functions, and of every function and constant that
they name; lines, which errors tell; the declared state; the versions of the tools, and this package. What is
installed from elsewhere counts by its version.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Iterable
from importlib import metadata
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from envpool_protocol.compiled.state import DECLARATION

_TOOLS = ("numba", "llvmlite", "numpy")
_NEVER_COMPILED = ("_render_envpool", "_close_envpool")


def digest(cls: type) -> str:
    """The hash for an env class: of its code, where that lies, and what it is compiled with."""
    walk = _walk(cls)
    walk.note(*map(_version, _TOOLS), _package(), *sorted(walk.besides))
    return walk.hash.hexdigest()


def code_digest(cls: type) -> str:
    """The hash of its code alone: the same where other tools are installed, and for what was pickled."""
    return _walk(cls).hash.hexdigest()


def _walk(cls: type) -> _Walk:
    walk = _Walk(cls.__module__.partition(".")[0])
    walk.visit(cls)
    return walk


def _version(tool: str) -> str:
    try:
        return metadata.version(tool)
    except metadata.PackageNotFoundError:
        return ""


@functools.cache
def _package() -> str:
    here = Path(__file__).parent
    files = [
        *sorted(here.glob("*.*")),
        *(here.parent / name for name in ("envpool_protocol.py", "random.py")),
    ]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class _Walk:
    """Every object that is reached is hashed once, in the order in which it is met."""

    def __init__(self, package: str) -> None:
        self.hash = hashlib.sha256()
        self.besides: set[str] = set()  # the files of code, and what is installed, with its version
        self._package = package  # whose functions count wherever it is installed
        self._seen: dict[int, tuple[int, Any]] = {}  # an object is kept: its id is its own while it lives
        self._taken: set[tuple[int, int]] = (
            set()
        )  # modules, and the functions that take something out of them

    def note(self, *texts: object) -> None:
        for text in texts:
            raw = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogatepass")
            self.hash.update(b"%d:" % len(raw) + raw)

    def visit(self, value: Any) -> None:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            self.note(type(value).__name__, repr(value))
            return
        if id(value) in self._seen:
            self.note("again", self._seen[id(value)][0])
            return
        self._seen[id(value)] = len(self._seen), value
        if isinstance(value, np.ndarray | np.generic):
            self.note("array", value.dtype.str, value.shape, value.tobytes() if value.dtype != object else "")
        elif isinstance(value, types.CodeType):
            self._code(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(getattr(value, "py_func", None), types.FunctionType):
            self._function(value.py_func)  # what @njit made
        elif isinstance(value, staticmethod | classmethod):
            self.visit(value.__func__)
        elif isinstance(value, property):
            self._all((value.fget, value.fset))
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, tuple | list):
            self.note(*getattr(value, "_fields", ()))
            self._all(value)
        elif isinstance(value, dict):
            self._all(value)
            self._all(value.values())
        elif isinstance(value, frozenset | set):
            self.note(sorted(map(repr, value)))
        elif isinstance(value, enum.Enum):
            self.note(value.name)
            self.visit(value.value)
        else:
            self.note(type(value).__module__, type(value).__qualname__)

    def _all(self, values: Iterable[Any]) -> None:
        values = list(values)
        self.note(len(values))
        for value in values:
            self.visit(value)

    def _class(self, cls: type) -> None:
        self.note("class", cls.__name__)  # where it is found depends on how it was run, imported or pickled
        for base in cls.__mro__:
            if self._is_foreign(base.__module__):
                continue
            for name, value in sorted(vars(base).items(), key=itemgetter(0)):  # a pickle has another order
                if name == DECLARATION:
                    self.visit(value)
                elif name not in _NEVER_COMPILED and not name.startswith("__"):
                    self.note(name)
                    self.visit(value)

    def _code(self, code: types.CodeType) -> None:
        self.besides.add(Path(code.co_filename).name)
        self.note(code.co_name, code.co_firstlineno)
        self.note(
            code.co_code, *map(str, code.co_lines()), code.co_argcount, code.co_kwonlyargcount, code.co_flags
        )
        self.note(code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self._all(code.co_consts)

    def _function(self, function: types.FunctionType) -> None:
        if self._is_foreign(function.__module__):
            return
        self.visit(function.__code__)
        self._all(function.__defaults__ or ())
        self._all((function.__kwdefaults__ or {}).items())
        for cell in function.__closure__ or ():
            self.visit(getattr(cell, "cell_contents", None))
        for name in _names(function.__code__):
            if name in function.__globals__:
                self.note(name)
                self._named(function.__globals__[name], function.__code__)

    def _named(self, value: Any, code: types.CodeType) -> None:
        """A global: of a module, and of modules in it, what the function may take out of it."""
        if not isinstance(value, types.ModuleType):
            self.visit(value)
        elif (id(value), id(code)) not in self._taken and not self._is_foreign(value.__name__):
            self._taken.add((id(value), id(code)))
            for name in _names(code):
                self._named(getattr(value, name, None), code)

    def _is_foreign(self, module: str) -> bool:
        """Whether a module is installed from elsewhere; then its version is noted."""
        top = module.partition(".")[0]
        if top in (self._package, "__main__"):
            return False
        file = getattr(sys.modules.get(top), "__file__", None)
        known = (*sys.stdlib_module_names, __name__.partition(".")[0])
        foreign = top in known or (file is not None and file.startswith(_installed()))
        if foreign:
            self.besides.add(f"{module} {getattr(sys.modules.get(top), '__version__', '')}")
        return foreign


@functools.cache
def _installed() -> tuple[str, ...]:
    return tuple(f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib"))


def _names(code: types.CodeType) -> list[str]:
    """The names that a function and those inside of it use, sorted."""
    inner = [name for one in code.co_consts if isinstance(one, types.CodeType) for name in _names(one)]
    return sorted({*code.co_names, *inner})
