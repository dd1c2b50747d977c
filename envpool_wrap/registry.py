"""Find a generated env by its task id and make a pool of it.

list_all_envs()                            reads records only: nobody's code is imported
make(task_id, env_type, **config)          a pool behind the face of that type
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from envpool_protocol import origins, records
from envpool_protocol.errors import BuildError, ConfigError, RegistrationError, UnknownEnvError, nearest
from envpool_protocol.manager import CppWrapperGenerator, EnvManager, unknown_message
from envpool_protocol.sources import Description, Source
from envpool_wrap.config import PoolConfig

# env_type → module and class of the face; a face is imported when it is first asked for.
FACES = {
    "gym": ("envpool_wrap.faces.gym", "GymPool"),
    "gymnasium": ("envpool_wrap.faces.gymnasium", "GymnasiumPool"),
    "dm": ("envpool_wrap.faces.dm", "DMPool"),
}


@dataclass(frozen=True)
class Generated:
    """All that is needed to make pools of one env."""

    source: Source
    description: Description
    module: ModuleType


def list_all_envs() -> list[str]:
    """The task ids that can be made here, sorted."""
    return records.task_ids()


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
    origins.refuse_while_importing("make()")
    if _refusing:
        raise RegistrationError(
            "make() was reached while a worker process was importing the module of its env, which would "
            'start workers without end; put it under `if __name__ == "__main__":` there'
        )
    if env_type not in FACES:
        raise ConfigError(
            f"env_type={env_type!r}: expected one of {', '.join(FACES)}.{nearest(env_type, FACES)}"
        )
    settings = PoolConfig.of(config)
    found = find(task_id)
    _meet_envpool()
    module, face = FACES[env_type]
    cls = getattr(importlib.import_module(module), face)
    return cls(found.source, found.description, found.module, settings)


_refusing: list[bool] = []
_loading = threading.Lock()  # a module that two threads load at once fails in one of them


@contextlib.contextmanager
def refusing_pools() -> Iterator[None]:
    """While a worker process imports what its envs need, `make` raises: each worker would start more."""
    _refusing.append(True)
    try:
        yield
    finally:
        _refusing.pop()


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
    """The `PoolSpec` of a pool, without building an env."""
    from envpool_wrap.pool_spec import PoolSpec

    settings = PoolConfig.of(config)
    record = records.load(task_id)
    description = Description.from_json(record.description) if record else find(task_id).description
    return PoolSpec(description, settings)


def register(env: Any, name: str | None = None, **kwargs: Any) -> str:
    """Register an env, generate its module, and return its task id."""
    EnvManager.register_env(env, name, **kwargs)
    return CppWrapperGenerator.generate_envpool_wrap(f"{name or env.__name__}_wrap").task_id


def find(task_id: str) -> Generated:
    """The env under `task_id`, its module up to date: generated again if the env changed.

    Raises:
        UnknownEnvError, RegistrationError, BuildError: see `make` and `generate_envpool_wrap`.
    """
    record = records.load(task_id)
    source = EnvManager.find(task_id)
    if record is None and source is None:
        raise UnknownEnvError(unknown_message(task_id))
    if source is None:
        assert record is not None  # the line above
        source = origins.load_source(record)
    why = "it was not generated yet" if record is None else _stale(record, source)
    if why:
        if record is not None:
            warnings.warn(f"{task_id}: {why}; its module is generated again", stacklevel=3)
        EnvManager.register_env(source.cls, source.name, **source.kwargs)
        CppWrapperGenerator.generate_envpool_wrap(task_id)
        record = records.load(task_id)
    assert record is not None  # it was read, or just written
    return Generated(source, Description.from_json(record.description), _load(record))


def _stale(record: records.Record, source: Source) -> str:
    """Why the module of `record` does not serve `source`, or an empty string."""
    from envpool_protocol import __version__, _core

    if (record.abi, record.version) != (_core.abi, __version__):
        return f"it was generated by version {record.version}, and this is {__version__}"
    if not (records.home() / record.module_file).exists():
        return f"its module {record.module_file} is gone"
    now, then = origins.origin_of(source), record.origin
    here, there = ((at.file, at.qualname, at.digest, at.kwargs) for at in (now, then))
    if (now.file is not None and here == there) or source.describe().to_json() == record.description:
        return ""
    return f"{source.cls.__qualname__} changed its spaces or hooks since then"


def _load(record: records.Record) -> ModuleType:
    """The compiled module, imported once per key."""
    from envpool_protocol.generator import module_name

    name = f"envpool_wrap._generated_{record.key}.{module_name(record.name)}"
    try:
        return load_module(name, str(records.home() / record.module_file))
    except ImportError as error:
        again = f"CppWrapperGenerator.generate_envpool_wrap({record.task_id!r}, force=True)"
        raise BuildError(f"{error}. Generate it again: {again}") from error


def load_module(name: str, path: str) -> ModuleType:
    """The compiled module in the file `path`, imported once as `name`.

    Raises:
        ImportError: the file is not a module of this engine.
    """
    with _loading:
        if name in sys.modules:
            return sys.modules[name]
        loader = importlib.machinery.ExtensionFileLoader(name, path)
        spec = importlib.util.spec_from_file_location(name, path, loader=loader)
        assert spec is not None  # a loader was given
        try:
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
        except ImportError as error:
            raise ImportError(f"{path} cannot be loaded: {error}") from error
        sys.modules[name] = module
        return module


def _meet_envpool() -> None:
    """Where EnvPool or torchrl is in use, make pools instances of EnvPool's mixin, which torchrl asks for."""
    in_use = "envpool" in sys.modules or "torchrl" in sys.modules
    if in_use and importlib.util.find_spec("envpool") is not None:
        importlib.import_module("envpool_wrap.integrations.envpool")
