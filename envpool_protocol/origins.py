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


def origin_of(source: Source) -> Origin:
    """Where `source` comes from."""
    cls = source.cls
    kwargs = _pickled(dict(source.kwargs)) if source.kwargs else None
    file = _file_of(cls)
    if file is None:
        return Origin(cls.__module__, cls.__qualname__, None, None, None, _pickled(cls), kwargs)
    root = str(file.parents[cls.__module__.count(".")])
    return Origin(cls.__module__, cls.__qualname__, str(file), root, digest_of(file), None, kwargs)


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
        cls = _load_class(origin)
    except EnvPoolError:
        raise
    except Exception as error:
        raise RegistrationError(
            f"{record.task_id} was generated from {origin}, and that cannot be loaded any more "
            f"({type(error).__name__}: {error}). If the class moved, run "
            f"CppWrapperGenerator.generate_envpool_wrap({record.name}) where it is now."
        ) from error
    return source_of(cls, record.name, _unpickled(origin.kwargs) if origin.kwargs else {})


def refuse_while_importing(call: str) -> None:
    """Raise when `call` is reached from a module that is being imported to find an env class."""
    if _importing:
        raise RegistrationError(
            f"{call} was reached while {_importing[-1]} was being imported to find an env class; "
            'put it under `if __name__ == "__main__":` there'
        )


def _file_of(cls: type) -> Path | None:
    """The file that defines `cls`, if looking the class up in that file's module finds it."""
    module = sys.modules.get(cls.__module__)
    with contextlib.suppress(AttributeError, TypeError, OSError):
        if module is not None and _lookup(module, cls.__qualname__) is cls:
            file = Path(inspect.getfile(module)).resolve()
            return file if file.suffix == ".py" and file.is_file() else None
    return None


def _lookup(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _load_class(origin: Origin) -> Any:
    if origin.pickle is not None:
        return _unpickled(origin.pickle)
    assert origin.file is not None and origin.root is not None  # so it was written
    main = sys.modules.get("__main__")
    if main is not None and Path(getattr(main, "__file__", None) or "").absolute() == Path(origin.file):
        with contextlib.suppress(AttributeError):
            return _lookup(main, origin.qualname)
    with _import_from(origin.root, origin.file):
        if origin.module != "__main__":
            with contextlib.suppress(ModuleNotFoundError):
                module = importlib.import_module(origin.module)
                if Path(inspect.getfile(module)).resolve() == Path(origin.file):
                    return _lookup(module, origin.qualname)
        return _lookup(_import_file(Path(origin.file)), origin.qualname)


@contextlib.contextmanager
def _import_from(root: str, file: str) -> Iterator[None]:
    """Imports see `root` last on the path, as if the file were run from there."""
    _importing.append(file)
    sys.path.append(root)
    try:
        yield
    finally:
        sys.path.remove(root)
        _importing.pop()


def _import_file(file: Path) -> ModuleType:
    """The module in `file`, under a name of its own, imported once."""
    name = f"envpool_wrap_source_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}_{digest_of(file)[:12]}"
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


def _pickled(value: Any) -> str:
    import cloudpickle

    return base64.b64encode(cloudpickle.dumps(value)).decode()


def _unpickled(text: str) -> Any:
    import cloudpickle

    return cloudpickle.loads(base64.b64decode(text))
