"""How another interpreter finds a source: written down when a module is generated, followed at `make`.

An import path where a class or function can be imported, else the source file and qualified name (a script
run as `__main__`), else a cloudpickle (a notebook, a lambda; for a gymnasium id, its EnvSpec). While a
record's file is being imported, `generate_envpool_wrap` and `make` refuse to run: a script that calls them
outside `if __name__ == "__main__"` would run itself again.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from envpool_protocol.errors import EnvPoolError, RegistrationError, nearest
from envpool_protocol.records import Origin, Record
from envpool_protocol.source_kinds import GymnasiumId
from envpool_protocol.sources import Source, source_of

IMPORTED = "envpool_wrap_source_"  # prefix of modules that no import statement would find


class _Importing(threading.local):
    """The files that this thread is importing to find an env, the innermost last."""

    def __init__(self) -> None:
        self.files: list[str] = []


_importing = _Importing()
_turn = threading.RLock()  # of the one thread that imports: another would find half a module
_PATIENCE = 120.0  # seconds that another one waits for its turn


def origin_of(source: Source) -> Origin:
    """Where `source` comes from. It must be one that travels."""
    kwargs = _pickled(dict(source.kwargs), f"the arguments of {source.label}") if source.kwargs else None
    if isinstance(source, GymnasiumId):
        root = _root_of_entry_point(source.target.entry_point)
        return Origin(
            "gymnasium", source.label, None, root, None, _pickled(source.target, source.label), kwargs
        )
    target = source.target
    file = file_of(target)
    module = _import_name(_module_of(target), file)
    root = str(file.parents[module.count(".") + (file.stem == "__init__")]) if file else None
    if file is None or not _is_found(target):
        return Origin(module, source.label, None, root, None, _pickled(target, source.label), kwargs)
    return Origin(module, source.label, str(file), root, digest_of(file), None, kwargs)


def file_of(target: Any) -> Path | None:
    """The source file of the module that a class or function was defined in, or None."""
    name = getattr(sys.modules.get(_module_of(target)), "__file__", None)
    file = Path(name).resolve() if name else None
    return file if file is not None and file.suffix == ".py" and file.is_file() else None


def _module_of(target: Any) -> str:
    return str(getattr(target, "__module__", type(target).__module__))


def _root_of_entry_point(entry_point: Any) -> str | None:
    """The folder to import gymnasium's "module:Class" from."""
    if not isinstance(entry_point, str):
        return None
    package = sys.modules.get(entry_point.partition(":")[0].partition(".")[0])
    file = getattr(package, "__file__", None)
    return str(Path(file).resolve().parents[Path(file).stem == "__init__"]) if file else None


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
            target = _load_target(origin)
            kwargs = _unpickled(origin.kwargs) if origin.kwargs else {}
            return source_of(target, record.name, kwargs, record.description.get("compiled") is not None)
    except EnvPoolError:
        raise
    except (Exception, SystemExit) as error:  # a script may end with sys.exit()
        raise RegistrationError(
            f"{record.task_id} was generated from {origin}, and that cannot be loaded any more "
            f"({type(error).__name__}: {error}). If the class moved, run "
            f"CppWrapperGenerator.generate_envpool_wrap({record.name}) where it is now."
        ) from error


def object_in(file: Path, qualname: str) -> Any:
    """The class or function `qualname` of a source file, imported as part of its package if it is in one.

    Raises:
        RegistrationError: there is no such file, importing it raises, or it has nothing of that name.
    """
    if not file.is_file():
        raise RegistrationError(f"there is no file {file}")
    file = file.resolve()
    module, root = importable_as(file)
    origin = Origin(module, qualname, str(file), str(root), None, None, None)
    try:
        with _import_from(origin):
            return _load_target(origin)
    except EnvPoolError:
        raise
    except (Exception, SystemExit) as error:  # a script may end with sys.exit()
        if isinstance(error, AttributeError) and error.name in qualname.split("."):
            hint = nearest(str(error.name), dir(error.obj))
            raise RegistrationError(f"{file} has no {qualname!r}.{hint}") from error
        raise RegistrationError(
            f"{qualname} of {file} cannot be imported ({type(error).__name__}: {error})"
        ) from error


def importable_as(file: Path) -> tuple[str, Path]:
    """The name to import a source file by, and the folder to import it from: beyond its outermost package."""
    parts, folder = [file.stem] if file.stem != "__init__" else [], file.parent
    while (folder / "__init__.py").is_file():
        parts, folder = [folder.name, *parts], folder.parent
    return ".".join(parts), folder


def refuse_while_importing(call: str) -> None:
    """Raise when `call` is reached from a module that is being imported to find an env."""
    if _importing.files:
        raise RegistrationError(
            f"{call} was reached while {_importing.files[-1]} was being imported to find an env; "
            'put it under `if __name__ == "__main__":` there'
        )


def _import_name(module: str, file: Path | None) -> str:
    """What to import `module` by: one run with `python -m` is `__main__`, and its spec has its name."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    if file is not None and spec is not None and spec.origin and Path(spec.origin).resolve() == file:
        return str(spec.name)
    return module


def _is_found(target: Any) -> bool:
    """Whether looking it up in its module finds it: not so for a class made in a function, or a lambda."""
    try:
        return _lookup(sys.modules[_module_of(target)], target.__qualname__) is target
    except AttributeError:
        return False


def _lookup(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _load_target(origin: Origin) -> Any:
    if origin.pickle is not None:
        return _unpickled(origin.pickle)
    if origin.file is None:
        return _lookup(importlib.import_module(origin.module), origin.qualname)
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
    if not _turn.acquire(timeout=_PATIENCE):
        raise RegistrationError(
            f"{origin} cannot be imported: another thread has been importing an env for {_PATIENCE:g} s. If "
            'that file starts threads that make pools, put it under `if __name__ == "__main__":` there'
        )
    try:
        if origin.root and origin.root not in sys.path:
            sys.path.append(origin.root)
        _importing.files.append(origin.file or origin.module)
        yield
    finally:
        _importing.files.pop()
        _turn.release()


def _import_file(file: Path) -> ModuleType:
    """The module in `file`, under a name of its own, imported once. What it defines is pickled by value."""
    import cloudpickle

    name = f"{IMPORTED}{hashlib.sha256(str(file).encode()).hexdigest()[:12]}_{digest_of(file)[:12]}"
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
    cloudpickle.register_pickle_by_value(module)
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
