"""Find a generated env by its task id and make a pool of it.

list_all_envs()                            reads records only: nobody's code is imported
make(task_id, env_type, **config)          a pool behind the face of that type
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from envpool_protocol import compiler, origins, records
from envpool_protocol.compiled.hooks import compiled_facts
from envpool_protocol.compiled.state import declares
from envpool_protocol.errors import BuildError, ConfigError, RegistrationError, UnknownEnvError, nearest
from envpool_protocol.manager import CppWrapperGenerator, EnvManager, unknown_message
from envpool_protocol.notices import notice
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import Description, Source, source_of
from envpool_wrap.config import PoolConfig
from envpool_wrap.modules import load_module

# env_type → module and class of the face; a face is imported when it is first asked for.
FACES = {
    "gym": ("envpool_wrap.faces.gym", "GymPool"),
    "gymnasium": ("envpool_wrap.faces.gymnasium", "GymnasiumPool"),
    "dm": ("envpool_wrap.faces.dm", "DMPool"),
}
# Task id → what makes its pools, from env_type and settings, if no module is generated: `register_batched`'s.
MAKERS: dict[str, Callable[[str, Mapping[str, Any]], Any]] = {}


@dataclass(frozen=True)
class Generated:
    """All that is needed to make pools of one env."""

    source: Source
    description: Description
    module: ModuleType


def list_all_envs() -> list[str]:
    """The task ids that can be made here, sorted."""
    return sorted({*records.task_ids(), *MAKERS})


def make(task_id: str, env_type: str, **config: Any) -> Any:
    """Make a pool.

    Args:
        task_id: as `list_all_envs()` shows it, such as `"MyEnv_wrap"`.
        env_type: `"gym"`, `"gymnasium"` or `"dm"`.
        **config: see `envpool_wrap.config.PoolConfig`.

    Raises:
        UnknownEnvError: no env has this task id.
        ConfigError: a bad setting.
        EnvError: an env could not be built.
        RegistrationError: the env's class is not where it was when its module was generated.
        BuildError: the env's module had to be generated again and could not be, or is damaged.
    """
    refuse_pools("make()")
    _check_task_id(task_id)
    if task_id in MAKERS:
        return MAKERS[task_id](env_type, config)
    face, settings = face_of(env_type), PoolConfig.of(config)
    found = find(task_id)
    if found.source.num_envs is not None and "num_envs" not in config:
        settings = PoolConfig.of({**config, "num_envs": found.source.num_envs})
    return face(found.source, found.description, found.module, settings)


def _check_task_id(task_id: Any) -> None:
    if not isinstance(task_id, str):
        raise UnknownEnvError(unknown_message(task_id))


def face_of(env_type: str, faces: Mapping[str, tuple[str, str]] = FACES) -> Any:
    """The class of the face.

    Raises:
        ConfigError: there is none of that name.
    """
    if not isinstance(env_type, str) or env_type not in faces:
        raise ConfigError(
            f"env_type={env_type!r}: expected one of {', '.join(faces)}.{nearest(env_type, faces)}"
        )
    module, name = faces[env_type]
    return getattr(importlib.import_module(module), name)


_refusing: list[bool] = []


@contextlib.contextmanager
def refusing_pools() -> Iterator[None]:
    """While a worker process imports what its envs need, `make` raises: each worker would start more."""
    _refusing.append(True)
    try:
        yield
    finally:
        _refusing.pop()


def refuse_pools(call: str) -> None:
    """Raise when `call` is reached from a module that is being imported to find an env."""
    origins.refuse_while_importing(call)
    if _refusing:
        raise RegistrationError(
            f"{call} was reached while a worker process was importing the module of its env, which would "
            'start workers without end; put it under `if __name__ == "__main__":` there'
        )


def make_gym(task_id: str, **config: Any) -> Any:
    """`make(task_id, "gym", **config)`."""
    return make(task_id, "gym", **config)


def make_gymnasium(task_id: str, **config: Any) -> Any:
    """`make(task_id, "gymnasium", **config)`."""
    return make(task_id, "gymnasium", **config)


def make_dm(task_id: str, **config: Any) -> Any:
    """`make(task_id, "dm", **config)`."""
    return make(task_id, "dm", **config)


def make_spec(task_id: str, **config: Any) -> Any:
    """The `PoolSpec` of a pool, without compiling anything, or building an env that is as it was."""
    from envpool_wrap.pool_spec import PoolSpec

    settings = PoolConfig.of(config)
    record, source = _known(task_id)
    if source is None and record is not None and source_changed(record):
        source = origins.load_source(record)
    if record is not None and source is not None and source.travels:
        source = source if _changed(record, _as_recorded(record, source)) else None
    if source is not None:
        return PoolSpec(source.describe(), settings)
    assert record is not None  # _known has one of the two
    return PoolSpec(Description.from_json(record.description), settings)


def register(env: Any, name: str | None = None, **kwargs: Any) -> str:
    """Register an env, generate its module, and return its task id."""
    origins.refuse_while_importing("register()")
    source = EnvManager.add(source_of(env, name, kwargs))
    return CppWrapperGenerator.generate_envpool_wrap(source.task_id).task_id


def find(task_id: str) -> Generated:
    """The env under `task_id`, its module up to date: generated again if the env changed.

    Where there is no compiler, an env without a module runs on the prebuilt one.

    Raises:
        UnknownEnvError, RegistrationError, BuildError: see `make` and `generate_envpool_wrap`.
    """
    record, source = _known(task_id)
    if source is None:
        assert record is not None  # _known has one of the two
        source = origins.load_source(record)
    if record is not None and source.travels:
        source = _as_recorded(record, source)
        why = outdated(record) or _changed(record, source)
        if not why:
            return Generated(source, Description.from_json(record.description), _load(record))
        notice(f"{task_id}: {why}; its module is generated again")
    EnvManager.add(source)
    module = _generate(source)
    return Generated(source, Description.from_json(json.loads(module.description)), module)


def _known(task_id: str) -> tuple[records.Record | None, Source | None]:
    """The record of an env, and its source if that is registered here: one of the two at least.

    Raises:
        UnknownEnvError, RegistrationError: see `make`.
    """
    _check_task_id(task_id)
    if task_id in MAKERS:
        raise RegistrationError(f"{task_id!r} has no module: it is a simulator, which only make() can make")
    record, source = records.load(task_id), EnvManager.find(task_id)
    if record is None and source is None:
        raise UnknownEnvError(unknown_message(task_id))
    return record, source


def _generate(source: Source) -> ModuleType:
    try:
        compiler.find_compiler()
    except BuildError as error:
        notice(f"{source.task_id} runs on the prebuilt module: {error}")
        return prebuilt_module(source.describe())
    made = CppWrapperGenerator.generate_envpool_wrap(source.task_id)
    return load_generated(made.path, made.key, source.name)


def _as_recorded(record: records.Record, source: Source) -> Source:
    """The source; if it is the env of the record, then with its hooks compiled where those were."""
    origin = record.origin
    is_it = source.label == origin.qualname and origin.file in (None, str(origins.file_of(source.target)))
    compiled = is_it and record.description.get("compiled") is not None and declares(source.target)
    return replace(source, compiled=source.compiled or compiled)


def _changed(record: records.Record, source: Source) -> str:
    """How `source` is not what `record` was made from, or an empty string."""
    now, then = origins.origin_of(source), record.origin
    here, there = ((at.qualname, at.digest, at.kwargs) for at in (now, then))
    same_file = now.file is not None and then.file in (now.file, None)  # None: an installed package's
    hooks = compiled_facts(source) if source.compiled else None  # machine code has parts of other files
    unchanged = same_file and here == there and hooks == record.description.get("compiled")
    if unchanged or source.describe().to_json() == record.description:
        return ""
    return f"{source.label} changed its spaces or hooks since then"


def source_changed(record: records.Record) -> bool:
    """Whether the source file is there and not as it was. Nobody's code is imported."""
    file = Path(record.origin.file or "")  # which is no file
    return file.is_file() and origins.digest_of(file) != record.origin.digest


def outdated(record: records.Record) -> str:
    """Why the module of `record` cannot be loaded here, or an empty string."""
    from envpool_protocol import __version__, _core

    if (record.abi, record.version) != (_core.abi, __version__):
        return f"it was generated by version {record.version}, and this is {__version__}"
    if not (records.home() / record.module_file).exists():
        return f"its module {record.module_file} is gone"
    return ""


def _load(record: records.Record) -> ModuleType:
    try:
        return load_generated(records.home() / record.module_file, record.key, record.name)
    except ImportError as error:
        again = f"CppWrapperGenerator.generate_envpool_wrap({record.task_id!r}, force=True)"
        raise BuildError(f"{error}. Generate it again: {again}") from error


def load_generated(path: Path, key: str, name: str) -> ModuleType:
    """The compiled module of the env `name`, imported once per key."""
    from envpool_protocol.cpp_text import module_name

    return load_module(f"envpool_wrap._generated_{key}.{module_name(name)}", str(path))
