"""What is known on disk of each generated module.

    ENVPOOL_WRAP_HOME/<ABI tag>/records/MyEnv_wrap.json       which module, which class, which spaces
                               /modules/MyEnv-<key>/          sources and the compiled module
                               /locks/                        one lock per module being built

Records are data: reading them imports nobody's code. One is replaced as a whole or not at all, and a file
that is not one of ours is left alone. The ABI tag keeps interpreters apart.
"""

from __future__ import annotations

import json
import os
import sysconfig
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = 1


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
        module_file: path of the compiled module, relative to `home()`.
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


on_save: list[Callable[[str], None]] = []  # called with the task id of each record that is saved


def home() -> Path:
    """The folder of this interpreter's modules: `$ENVPOOL_WRAP_HOME`, else the user's cache folder."""
    base = os.environ.get("ENVPOOL_WRAP_HOME")
    if not base:
        import platformdirs

        base = platformdirs.user_cache_dir("envpool-wrapper")
    return Path(base).expanduser().absolute() / str(sysconfig.get_config_var("SOABI"))


def _path(task_id: str) -> Path:
    return home() / "records" / f"{task_id}.json"


def task_ids() -> list[str]:
    """All task ids with a readable record, sorted. A broken file is skipped with a warning."""
    return sorted(record.task_id for record in all_records())


def all_records() -> Iterator[Record]:
    """All that can be read, by the names of their files. A broken file is skipped with a warning."""
    for path in sorted((home() / "records").glob("*.json")):
        try:
            yield _read(path)
        except (OSError, ValueError, TypeError, KeyError) as error:
            warnings.warn(f"{path} is not a readable record ({error}); ignored. Delete it.", stacklevel=3)


def load(task_id: str) -> Record | None:
    """The record of `task_id`, or None when there is none that can be read."""
    try:
        return _read(_path(task_id))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        warnings.warn(f"{_path(task_id)} is not a readable record ({error}); ignored", stacklevel=2)
        return None


def _read(path: Path) -> Record:
    values = json.loads(path.read_text("utf-8"))
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError(f"expected format {FORMAT}")
    record = Record(**{**values, "origin": Origin(**values["origin"])})
    if record.task_id != path.stem:
        raise ValueError(f"it is the record of {record.task_id}")
    return record


def save(record: Record) -> None:
    """Put `record` in place of whatever is there under its task id."""
    path = _path(record.task_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, **asdict(record)}, indent=1, sort_keys=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    for listener in on_save:
        listener(record.task_id)
