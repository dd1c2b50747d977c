"""What is known on disk of each generated module.

    ENVPOOL_WRAP_HOME/<ABI tag>/records/MyEnv_wrap.json       which module, which class, which spaces
                               /modules/MyEnv-<key>/          sources and the compiled module
                               /locks/                        one lock per module being built
    site-packages/envpool_wrap_MyEnv/MyEnv_wrap.json          the same of an installed wheel (wheels.py)

Records are data: reading them imports nobody's code. One is replaced as a whole or not at all, and a file
that is not one of ours is left alone. The ABI tag keeps interpreters apart. A record in the home folder
hides that of a wheel.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from envpool_protocol import files
from envpool_protocol.errors import BuildError
from envpool_protocol.notices import notice

FORMAT = 1
# Not sysconfig's: what that says while another thread asks it for the first time is None.
_ABI_TAG = importlib.machinery.EXTENSION_SUFFIXES[0].split(".")[1]
GROUP = "envpool_wrap.envs"  # of entry points: task id = the package whose folder holds the record
_UNREADABLE = (OSError, ValueError, TypeError, KeyError)


@dataclass(frozen=True)
class Origin:
    """How another interpreter finds a class, a function or a gymnasium id.

    Attributes:
        module, qualname: the import path; `gymnasium` and the id.
        file: the source file, or None.
        root: the folder to import `module`, and what it imports, from; None for a notebook.
        digest: hash of the file's bytes when the module was generated.
        pickle: base64 of a cloudpickle, for what no file holds, and of gymnasium's EnvSpec.
        kwargs: base64 of a cloudpickle of the registered constructor arguments, or None.
    """

    module: str
    qualname: str
    file: str | None
    root: str | None
    digest: str | None
    pickle: str | None
    kwargs: str | None

    def __str__(self) -> str:
        return f"{self.qualname} in {self.file or self.module}"


@dataclass(frozen=True)
class Record:
    """One generated module.

    Attributes:
        task_id: such as `MyEnv_wrap`.
        name: of the env, such as `MyEnv`.
        key: hash of all that the compiled module depends on.
        module_file: path of the compiled module, relative to `home()`; of an installed one, absolute.
        abi: version of the engine's module interface.
        version: of this project.
        description: see `sources.Description.to_json`.
    """

    task_id: str
    name: str
    key: str
    module_file: str
    abi: int
    version: str
    description: Mapping[str, Any]
    origin: Origin


def record_of(
    name: str, description: Mapping[str, Any], origin: Origin, module_file: str, key: str
) -> Record:
    """The record of a module that this version generated."""
    from envpool_protocol import __version__, _core

    return Record(f"{name}_wrap", name, key, module_file, _core.abi, __version__, description, origin)


on_save: list[Callable[[str], None]] = []  # called with the task id of each record that is saved


_WAY_OUT = "set ENVPOOL_WRAP_HOME to a folder that you may write to"


def home() -> Path:
    """The folder of this interpreter's modules: `$ENVPOOL_WRAP_HOME`, else the user's cache folder.

    Raises:
        BuildError: the user has none, as in a container that runs under a number.
    """
    base = os.environ.get("ENVPOOL_WRAP_HOME")
    try:
        if not base:
            import platformdirs

            base = platformdirs.user_cache_dir("envpool-wrapper")
        return Path(base).expanduser().absolute() / _ABI_TAG
    except RuntimeError as error:
        raise BuildError(f"no home folder is known ({error}); {_WAY_OUT}") from None


def writable(folder: Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        BuildError: nothing can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise BuildError(f"nothing can be written into {folder} ({error}); {_WAY_OUT}") from None


def _path(task_id: str) -> Path:
    return home() / "records" / f"{task_id}.json"


def task_ids() -> list[str]:
    """All task ids with a readable record, sorted. A broken file is skipped with a warning."""
    return sorted(record.task_id for record in all_records())


def all_records() -> Iterator[Record]:
    """All that can be read, by the names of their files. A broken file is skipped with a warning."""
    seen: set[str] = set()
    own = ((path, _read) for path in sorted((home() / "records").glob("*.json")))
    wheels = ((path, read_installed) for _, path in _installed())
    for path, read in (*own, *wheels):
        try:
            record = read(path)
        except _UNREADABLE as error:
            _ignore(path, error)
            continue
        if record.task_id not in seen:
            seen.add(record.task_id)
            yield record


def load(task_id: str) -> Record | None:
    """The record of `task_id`, or None when there is none that can be read."""
    try:
        return _read(_path(task_id))
    except FileNotFoundError:
        pass
    except _UNREADABLE as error:
        _ignore(_path(task_id), error)
    try:
        return next((read_installed(path) for name, path in _installed() if name == task_id), None)
    except _UNREADABLE as error:
        notice(f"the record of {task_id} in its wheel cannot be read ({error})")
        return None


def _ignore(path: Path, error: Exception) -> None:
    notice(f"{path} is not a readable record ({error}); ignored. Delete it.")


def _installed() -> Iterator[tuple[str, Path]]:
    """Task ids and records of the installed wheels. Their packages are not imported."""
    from importlib import metadata

    for entry in metadata.entry_points(group=GROUP):
        if entry.dist is not None:
            yield entry.name, Path(str(entry.dist.locate_file(f"{entry.value}/{entry.name}.json")))


def read_installed(path: Path) -> Record:
    """The record of a wheel, its paths relative to the record's folder."""
    record, folder = _read(path), path.resolve().parent
    origin = record.origin

    def inside(relative: str | None) -> str | None:
        return None if relative is None else str(folder / relative)

    origin = replace(origin, file=inside(origin.file), root=inside(origin.root))
    return replace(record, module_file=str(folder / record.module_file), origin=origin)


def _read(path: Path) -> Record:
    if path.exists() and not path.is_file():
        raise ValueError("expected a file")  # to open a pipe would wait for its writer
    values = json.loads(path.read_text("utf-8"))
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError(f"expected format {FORMAT}")
    record = Record(**{**values, "origin": Origin(**values["origin"])})
    if record.task_id != path.stem:
        raise ValueError(f"it is the record of {record.task_id}")
    return record


def text_of(record: Record) -> str:
    """The file of a record."""
    return json.dumps({"format": FORMAT, **asdict(record)}, indent=1, sort_keys=True)


def save(record: Record) -> None:
    """Put `record` in place of whatever is there under its task id, unless that says the same.

    Raises:
        BuildError: nothing can be written there.
    """
    path = _path(record.task_id)
    if not _holds(path, record):
        writable(path.parent)
        files.put(path, text_of(record).encode())
    for listener in on_save:
        listener(record.task_id)


def _holds(path: Path, record: Record) -> bool:
    try:
        return _read(path) == record
    except _UNREADABLE:
        return False
