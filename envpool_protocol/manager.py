"""Register envs, and turn them into compiled modules.

EnvManager.register_env(MyEnv)                     # or as a decorator
CppWrapperGenerator.generate_envpool_wrap(MyEnv)   # about five seconds; at once when nothing changed
CppWrapperGenerator.build_wheel(MyEnv, "dist")     # for other machines, without a compiler
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, overload

from envpool_protocol import generator, origins, records
from envpool_protocol.building import build
from envpool_protocol.compiled.hooks import hooks_of
from envpool_protocol.errors import DuplicateEnvError, RegistrationError, UnknownEnvError, nearest
from envpool_protocol.notices import notice
from envpool_protocol.source_kinds import GymnasiumId
from envpool_protocol.sources import Source, source_of

AnyEnv = TypeVar("AnyEnv")


class EnvManager:
    """The envs registered in this interpreter."""

    _sources: ClassVar[dict[str, Source]] = {}

    @overload
    @classmethod
    def register_env(
        cls, env: AnyEnv, name: str | None = None, *, compiled: bool = False, **kwargs: Any
    ) -> AnyEnv: ...
    @overload
    @classmethod
    def register_env(
        cls, env: None = None, name: str | None = None, *, compiled: bool = False, **kwargs: Any
    ) -> Callable[[AnyEnv], AnyEnv]: ...
    @classmethod
    def register_env(
        cls, env: Any = None, name: str | None = None, *, compiled: bool = False, **kwargs: Any
    ) -> Any:
        """Register an env under the task id `f"{name}_wrap"` and return it.

        Also a decorator, with or without arguments. Registering the same env again, or a newer version
        of it (as a notebook does), replaces it.

        Args:
            env: a subclass of `EnvPoolProtocol`; a class of gymnasium, old gym or dm_env; a gymnasium id,
                also as `"module:id"`; a function `f(envid, **kwargs)` that returns an env of any of these; a
                list of envs, which are then stepped in this process.
            name: default: the name of the class or function, or the id with `/` as `_`.
            compiled: compile the hooks of an `EnvPoolProtocol` that declares its state to machine code.
            **kwargs: given to the constructor, to `gymnasium.make` or to the function.

        Raises:
            RegistrationError: not something that can be registered, or a bad name.
            DuplicateEnvError: another env has this name.
            ProtocolError: a hook is missing or has the wrong signature, or no env can be built with `kwargs`.
        """
        if env is None:
            return lambda decorated: cls.register_env(decorated, name, compiled=compiled, **kwargs)
        cls.add(source_of(env, name, kwargs, compiled))
        return env

    @classmethod
    def add(cls, source: Source) -> Source:
        """Register a source that was checked, and return it. Raises DuplicateEnvError, as `register_env`."""
        known = cls._sources.get(source.task_id)
        if known is not None and not _same(known, source):
            raise DuplicateEnvError(
                f"{source.task_id!r} is {known.place} already; "
                f"register {source.place} under another name: register_env(..., name='Other')"
            )
        cls._sources[source.task_id] = source
        return source

    @classmethod
    def find(cls, task_id: str) -> Source | None:
        """The source registered under `task_id` in this interpreter, or None."""
        return cls._sources.get(task_id)

    @classmethod
    def source(cls, env: Any, compiled: bool | None = None) -> Source:
        """The source of a task id, or of an env, which is registered if it was not.

        Args:
            env: what `register_env` takes, or a task id.
            compiled: register it with its hooks compiled, or interpreted; None: as it is registered.

        Raises:
            UnknownEnvError: no env has this task id, here or on disk, and gymnasium does not know it.
            RegistrationError: it has no hooks that could be compiled.
        """
        if isinstance(env, str):
            found = cls.find(env) or cls._source_on_disk(env) or cls._source_in_gymnasium(env)
        else:
            known = next((source for source in cls._sources.values() if source.target is env), None)
            found = known or cls.add(source_of(env, compiled=bool(compiled)))
        if compiled is None or compiled == found.compiled:
            return found
        return cls.add(source_of(found.target, found.name, found.kwargs, compiled))

    @classmethod
    def _source_on_disk(cls, task_id: str) -> Source | None:
        record = records.load(task_id)
        return None if record is None else origins.load_source(record)

    @classmethod
    def _source_in_gymnasium(cls, env_id: str) -> Source:
        env_id_there = env_id.rpartition(":")[2]
        for known in cls._sources.values():
            if isinstance(known, GymnasiumId) and known.target.id == env_id_there:
                return known
        try:
            source = source_of(env_id)
        except RegistrationError as error:
            raise UnknownEnvError(f"{unknown_message(env_id)}. {error}") from error
        return cls.add(source)

    @classmethod
    def task_ids(cls) -> list[str]:
        """The task ids registered in this interpreter."""
        return list(cls._sources)


@dataclass(frozen=True)
class GeneratedModule:
    """What `generate_envpool_wrap` made or found.

    Attributes:
        task_id: the name to `make` it by.
        path: the compiled module; the sources lie beside it.
        key: hash of all that the module depends on.
        cached: nothing had to be compiled.
        seconds: how long it took.
    """

    task_id: str
    path: Path
    key: str
    cached: bool
    seconds: float


class CppWrapperGenerator:
    """Renders and compiles the C++ module of an env."""

    @staticmethod
    def render(env: Any) -> dict[str, str]:
        """The generated sources of `env` (what `register_env` takes, or a task id): file name → text."""
        source = EnvManager.source(env)
        description = source.describe()
        return generator.render(description, hooks_of(source, description))

    @staticmethod
    def generate_envpool_wrap(
        env: Any,
        verbose: bool = False,
        force: bool = False,
        output_dir: str | os.PathLike[str] | None = None,
        report: Callable[[str], None] | None = None,
        compiled: bool | None = None,
    ) -> GeneratedModule:
        """Make the C++ module of an env, so that `envpool_wrap.make` can pool it, from any interpreter.

        A list of live envs can be pooled in this interpreter only.

        Nothing is compiled when nothing changed. Several processes may call this at once: one builds, the
        others wait for it.

        Args:
            env: what `register_env` takes, or a task id.
            verbose: print what the compiler prints.
            force: compile even if the module is there.
            output_dir: where to put the module; default: `modules/` in the home folder.
            report: called with each line that the compiler's tools print.
            compiled: compile the hooks to machine code, or let them be interpreted; default: as registered.

        Raises:
            BuildError: there is no compiler (the message names the package), or it refused the sources; a
                hook that does not compile; the home folder, or `output_dir`, cannot be written.
            ImportError: hooks are to be compiled, and there is no Numba.
            ProtocolError, SpecError, RegistrationError: see `register_env`.
        """
        start = time.perf_counter()
        origins.refuse_while_importing("generate_envpool_wrap()")
        source = EnvManager.source(env, compiled)
        description = source.describe()
        origin = origins.origin_of(source) if source.travels else None
        if origin is not None:
            _say_if_taken_over(source.task_id, origin)
        place = Path(output_dir).absolute() if output_dir else None
        report = report or (print if verbose else lambda line: None)
        hooks = hooks_of(source, description)
        path, key, cached = build(description, place, force, report, hooks)
        if origin is not None:
            home = records.home()
            file = str(path.relative_to(home) if path.is_relative_to(home) else path)
            records.save(records.record_of(source.name, description.to_json(), origin, file, key))
        return GeneratedModule(source.task_id, path, key, cached, time.perf_counter() - start)

    @staticmethod
    def build_wheel(
        env: Any,
        out_dir: str | os.PathLike[str],
        version: str = "0.1.0",
        requires: Sequence[str] = (),
        report: Callable[[str], None] | None = None,
        compiled: bool | None = None,
    ) -> Path:
        """Build a wheel of an env, and return its path.

        Where it is installed, `list_all_envs()` lists the env and `make` pools it, without a compiler. It is
        for this Python, platform and version of envpool_wrap. The same env gives the same bytes, wherever it
        is built; the times in it are `$SOURCE_DATE_EPOCH`, or fixed.

        Args:
            env: what `register_env` takes, or a task id. Its file goes into the wheel, or the whole package
                that it is in; of an env in an installed package, the wheel requires that package instead.
            out_dir: where to put the wheel.
            version: of the wheel.
            requires: what the env imports, as requirements: `["torch>=2.4"]`.
            report: called with each line that the compiler's tools print.
            compiled: with the hooks as machine code, or interpreted; default: as registered.

        Raises:
            RegistrationError: another interpreter could not find the env: a lambda, a class of a notebook,
                live envs, or one that imports files that are not in its package.
            ConfigError: a bad version or requirement.
            BuildError: there is no compiler, or it refused the sources.
            ProtocolError, SpecError: see `register_env`.
        """
        from envpool_protocol import wheels

        origins.refuse_while_importing("build_wheel()")
        quiet: Callable[[str], None] = lambda line: None  # noqa: E731
        source = EnvManager.source(env, compiled)
        return wheels.build(source, Path(out_dir), version, requires, report or quiet)


def unknown_message(task_id: Any) -> str:
    """What to say of a task id that nobody knows."""
    import gymnasium

    if not isinstance(task_id, str):
        return f"{task_id!r:.80} is no task id; give the str that envpool_wrap.register(...) returns"
    known = sorted({*records.task_ids(), *EnvManager.task_ids()})
    hint = nearest(task_id, known) or (f" Known: {', '.join(known)}." if known else " No env is known yet.")
    env_id = task_id.removesuffix("_wrap")
    env = repr(env_id) if env_id in gymnasium.registry else "MyEnv"
    return f"no env is called {task_id!r}.{hint} Generate one: envpool_wrap.register({env})"


def _say_if_taken_over(task_id: str, new: records.Origin) -> None:
    record = records.load(task_id)
    if record is None or record.origin.file is None or not Path(record.origin.file).exists():
        return
    if (new.file, new.qualname) != (record.origin.file, record.origin.qualname):
        notice(
            f"{task_id} stood for {record.origin} and now stands for {new}; "
            "give one of them another name with register_env(..., name='Other') to keep both"
        )


def _same(one: Source, two: Source) -> bool:
    """Whether both are one env, or versions of it; a file may have been imported under several names."""
    file = origins.file_of(one.target)
    same_file = file is not None and file == origins.file_of(two.target)
    return type(one) is type(two) and (one.place == two.place or (same_file and one.label == two.label))
