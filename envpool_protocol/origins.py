"""How another interpreter finds an env class: written down when a module is generated, followed at `make`.

An import path where the class can be imported, else the source file and qualified name (a script run as
`__main__`), else a cloudpickle (a notebook). While a record's file is being imported, `generate_envpool_wrap`
and `make` refuse to run: a script that calls them outside `if __name__ == "__main__"` would run itself again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from envpool_protocol.errors import EnvPoolError, RegistrationError
from envpool_protocol.records import Origin, Record
from envpool_protocol.sources import Source, source_of

_importing: list[str] = []
_IMPORTED = "envpool_wrap_source_"  # prefix of modules that no import statement would find


def origin_of(source: Source) -> Origin:
    """Where `source` comes from."""
    cls = source.cls
    kwargs = _pickled(dict(source.kwargs), f"the arguments of {cls.__qualname__}") if source.kwargs else None
    file = file_of(cls)
    module = _import_name(cls.__module__, file)
    root = str(file.parents[module.count(".") + (file.stem == "__init__")]) if file else None
    if file is None or not _is_found(cls):
        return Origin(module, cls.__qualname__, None, root, None, _pickled(cls, cls.__qualname__), kwargs)
    return Origin(module, cls.__qualname__, str(file), root, digest_of(file), None, kwargs)


def file_of(cls: type) -> Path | None:
    """The source file of the module that `cls` was defined in, or None."""
    with contextlib.suppress(KeyError, TypeError, OSError):
        file = Path(inspect.getfile(sys.modules[cls.__module__])).resolve()
        return file if file.suffix == ".py" and file.is_file() else None
    return None


def digest_of(file: Path) -> str:
    """Hash of the file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def load_source(record: Record) -> Source:
    """The source that `record` was made from.

    Raises:
        RegistrationError: the class is not where it was; the message says where that is, and what to do.
    """
    origin = record.origin
    try:
        with _import_from(origin):
            cls = _load_class(origin)
            kwargs = _unpickled(origin.kwargs) if origin.kwargs else {}
    except EnvPoolError:
        raise
    except (Exception, SystemExit) as error:  # a script may end with sys.exit()
        raise RegistrationError(
            f"{record.task_id} was generated from {origin}, and that cannot be loaded any more "
            f"({type(error).__name__}: {error}). If the class moved, run "
            f"CppWrapperGenerator.generate_envpool_wrap({record.name}) where it is now."
        ) from error
    return source_of(cls, record.name, kwargs)


def refuse_while_importing(call: str) -> None:
    """Raise when `call` is reached from a module that is being imported to find an env class."""
    if _importing:
        raise RegistrationError(
            f"{call} was reached while {_importing[-1]} was being imported to find an env class; "
            'put it under `if __name__ == "__main__":` there'
        )


def _import_name(module: str, file: Path | None) -> str:
    """What to import `module` by: one run with `python -m` is `__main__`, and its spec has its name."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    if file is not None and spec is not None and spec.origin and Path(spec.origin).resolve() == file:
        return str(spec.name)
    return module


def _is_found(cls: type) -> bool:
    """Whether looking `cls` up in its module finds it: not so for a class made in a function."""
    try:
        return _lookup(sys.modules[cls.__module__], cls.__qualname__) is cls
    except AttributeError:
        return False


def _lookup(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _load_class(origin: Origin) -> Any:
    if origin.pickle is not None:
        return _unpickled(origin.pickle)
    assert origin.file is not None  # so it was written
    file, main = Path(origin.file), sys.modules.get("__main__")
    if main is not None and Path(getattr(main, "__file__", None) or "").resolve() == file:
        with contextlib.suppress(AttributeError):
            return _lookup(main, origin.qualname)
    known = _leads_to(origin.module, file)
    module = importlib.import_module(origin.module) if known else _import_file(file)
    return _lookup(module, origin.qualname)


def _leads_to(module: str, file: Path) -> bool:
    """Whether `import module` would run `file`, not another file of that name: that one must not be run."""
    with contextlib.suppress(ImportError, ValueError):  # ValueError: a module without a spec, as __main__
        spec = importlib.util.find_spec(module)
        return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file
    return False


@contextlib.contextmanager
def _import_from(origin: Origin) -> Iterator[None]:
    """Imports see the origin's root last on the path, from now on: hooks import too, when they run."""
    if origin.root and origin.root not in sys.path:
        sys.path.append(origin.root)
    _importing.append(origin.file or origin.module)
    try:
        yield
    finally:
        _importing.pop()


def is_imported_file(module: ModuleType) -> bool:
    """Whether `module` was imported from its file here, so that another process cannot import it by name."""
    return module.__name__.startswith(_IMPORTED)


def _import_file(file: Path) -> ModuleType:
    """The module in `file`, under a name of its own, imported once."""
    name = f"{_IMPORTED}{hashlib.sha256(str(file).encode()).hexdigest()[:12]}_{digest_of(file)[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _pickled(value: Any, what: str) -> str:
    import cloudpickle

    try:
        return base64.b64encode(cloudpickle.dumps(value)).decode()
    except Exception as error:  # what a value's own __reduce__ raises
        raise RegistrationError(
            f"{what} cannot be pickled ({type(error).__name__}: {error}), so other interpreters could not "
            "make this env. Define the class at the top level of a file, and give it plain arguments"
        ) from error


def _unpickled(text: str) -> Any:
    import cloudpickle

    return cloudpickle.loads(base64.b64decode(text))
