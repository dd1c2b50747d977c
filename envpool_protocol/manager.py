"""Register envs, and turn them into compiled modules.

EnvManager.register_env(MyEnv)                     # or as a decorator
CppWrapperGenerator.generate_envpool_wrap(MyEnv)   # about five seconds; at once when nothing changed
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, overload

from envpool_protocol import compiler, generator, origins, records, resources
from envpool_protocol.errors import BuildError, DuplicateEnvError, UnknownEnvError, nearest
from envpool_protocol.sources import Description, Source, source_of

AnyEnv = TypeVar("AnyEnv")

# Read by CMake on its own account.
_FLAG_VARIABLES = ("CXXFLAGS", "CPPFLAGS", "LDFLAGS")


class EnvManager:
    """The envs registered in this interpreter."""

    _sources: ClassVar[dict[str, Source]] = {}

    @overload
    @classmethod
    def register_env(cls, env: AnyEnv, name: str | None = None, **kwargs: Any) -> AnyEnv: ...
    @overload
    @classmethod
    def register_env(
        cls, env: None = None, name: str | None = None, **kwargs: Any
    ) -> Callable[[AnyEnv], AnyEnv]: ...
    @classmethod
    def register_env(cls, env: Any = None, name: str | None = None, **kwargs: Any) -> Any:
        """Register an env class under the task id `f"{name}_wrap"` and return it.

        Also a decorator, with or without arguments. Registering the same class again, or a newer version
        of it (as a notebook does), replaces it.

        Args:
            env: a subclass of `EnvPoolProtocol`.
            name: default: the class's name.
            **kwargs: given to the constructor besides `envid`.

        Raises:
            RegistrationError: not something that can be registered, or a bad name.
            DuplicateEnvError: another class has this name.
            ProtocolError: a hook is missing or has the wrong signature, or `__init__` takes no `envid`.
        """
        if env is None:
            return lambda decorated: cls.register_env(decorated, name, **kwargs)
        source = source_of(env, name, kwargs)
        known = cls._sources.get(source.task_id)
        if known is not None and not _same(known.cls, source.cls):
            raise DuplicateEnvError(
                f"{source.task_id!r} is {_place(known.cls)} already; "
                f"register {_place(source.cls)} under another name: register_env(..., name='Other')"
            )
        cls._sources[source.task_id] = source
        return env

    @classmethod
    def find(cls, task_id: str) -> Source | None:
        """The source registered under `task_id` in this interpreter, or None."""
        return cls._sources.get(task_id)

    @classmethod
    def source(cls, env: Any) -> Source:
        """The source of a task id or of an env, which is registered if it was not.

        Raises:
            UnknownEnvError: no env has this task id, here or on disk.
        """
        if not isinstance(env, str):
            known = next((source for source in cls._sources.values() if source.cls is env), None)
            return known or cls._sources[source_of(cls.register_env(env)).task_id]
        found = cls.find(env)
        record = records.load(env) if found is None else None
        if found is None and record is None:
            raise UnknownEnvError(unknown_message(env))
        return found or origins.load_source(record)  # type: ignore[arg-type]

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
        """The generated sources of `env` (a class or a task id): file name → text."""
        return generator.render(EnvManager.source(env).describe())

    @staticmethod
    def generate_envpool_wrap(
        env: Any,
        verbose: bool = False,
        force: bool = False,
        output_dir: str | os.PathLike[str] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> GeneratedModule:
        """Make the C++ module of an env, so that `envpool_wrap.make` can pool it, from any interpreter.

        Nothing is compiled when nothing changed. Several processes may call this at once: one builds, the
        others wait for it.

        Args:
            env: what `register_env` takes, or a task id.
            verbose: print what the compiler prints.
            force: compile even if the module is there.
            output_dir: where to put the module; default: `modules/` in the home folder.
            report: called with each line that the compiler's tools print.

        Raises:
            BuildError: there is no compiler (the message names the package), or it refused the sources.
            ProtocolError, SpecError, RegistrationError: see `register_env`.
        """
        start = time.perf_counter()
        origins.refuse_while_importing("generate_envpool_wrap()")
        source = EnvManager.source(env)
        description = source.describe()
        origin = origins.origin_of(source)
        _say_if_taken_over(source.task_id, origin)
        modules = Path(output_dir).absolute() if output_dir else records.home() / "modules"
        report = report or (print if verbose else lambda line: None)
        path, key, cached = _build(description, modules, force, report)
        records.save(_record(source, origin, description, path, key))
        return GeneratedModule(source.task_id, path, key, cached, time.perf_counter() - start)


def unknown_message(task_id: Any) -> str:
    """What to say of a task id that nobody knows."""
    known = sorted({*records.task_ids(), *EnvManager.task_ids()})
    hint = nearest(str(task_id), known) or (
        f" Known: {', '.join(known)}." if known else " No env is known yet."
    )
    return (
        f"no env is called {task_id!r}.{hint} Generate one: CppWrapperGenerator.generate_envpool_wrap(MyEnv)"
    )


def module_key(sources: dict[str, str], tool: compiler.Compiler) -> str:
    """Hash of all that a compiled module depends on: change one and the key changes."""
    import pybind11

    from envpool_protocol import __version__, _core

    digest = hashlib.sha256()
    ingredients = [
        *(f"{name}\n{text}" for name, text in sorted(sources.items())),
        *(header.read_text("utf-8") for header in resources.headers()),
        *(tool.path, *tool.arguments, tool.version),
        *(f"{name}={os.environ.get(name, '')}" for name in _FLAG_VARIABLES),
        *(compiler.extension_name(""), pybind11.__version__, __version__, str(_core.abi)),
    ]
    for ingredient in ingredients:
        digest.update(f"{len(ingredient)}:{ingredient}".encode())
    return digest.hexdigest()[:24]


def _build(
    description: Description, modules: Path, force: bool, report: Callable[[str], None]
) -> tuple[Path, str, bool]:
    """The compiled module's path and key, and whether it was there already."""
    import filelock

    sources = generator.render(description)
    tool = compiler.find_compiler()
    key = module_key(sources, tool)
    name = description.spec.name
    folder = modules / f"{name}-{key}"
    module = folder / compiler.extension_name(generator.module_name(name))
    if module.exists() and not force:
        return module, key, True
    locks = records.home() / "locks"
    for needed in (modules, locks):
        needed.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(locks / f"{name}-{key}.lock", timeout=compiler.BUILD_DEADLINE)
    try:
        with lock:
            if module.exists() and not force:
                return module, key, True
            _compile_and_publish(sources, generator.module_name(name), folder, tool, report)
    except filelock.Timeout as error:
        raise BuildError(
            f"another process has been building {name} for too long; it holds {error.lock_file}"
        ) from None
    return module, key, False


def _compile_and_publish(
    sources: dict[str, str],
    module: str,
    folder: Path,
    tool: compiler.Compiler,
    report: Callable[[str], None],
) -> None:
    """Compile beside `folder`, then put the result there in one move."""
    for left in folder.parent.glob(f".{folder.name}.*"):  # by a builder that was killed: we hold its lock
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, text in sources.items():
            (work / name).write_text(text, "utf-8")
        build = work / "build"
        try:
            built = compiler.compile_module(module, work, build, resources.include_dir(), tool, report)
        except BuildError as error:
            raise _with_kept_sources(error, work, folder) from None
        built.replace(work / built.name)
        shutil.rmtree(build)
        work.chmod(0o755)  # mkdtemp's folders are private
        _replace_folder(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _with_kept_sources(error: BuildError, work: Path, folder: Path) -> BuildError:
    kept = records.home() / "failed" / folder.name
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(work, kept, ignore=shutil.ignore_patterns("build"))
    return BuildError(
        str(error).replace(str(work), str(kept)), error.output.replace(str(work), str(kept)), kept
    )


def _replace_folder(new: Path, folder: Path) -> None:
    if folder.exists():  # a folder cannot be moved onto a full one
        old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        folder.rename(old / "old")
        new.rename(folder)
        shutil.rmtree(old)
    else:
        new.rename(folder)


def _record(
    source: Source, origin: records.Origin, description: Description, path: Path, key: str
) -> records.Record:
    from envpool_protocol import __version__, _core

    home = records.home()
    return records.Record(
        task_id=source.task_id,
        name=source.name,
        key=key,
        module_file=str(path.relative_to(home) if path.is_relative_to(home) else path),
        abi=_core.abi,
        version=__version__,
        description=description.to_json(),
        origin=origin,
    )


def _say_if_taken_over(task_id: str, new: records.Origin) -> None:
    record = records.load(task_id)
    if record is None or record.origin.file is None or not Path(record.origin.file).exists():
        return
    if (new.file, new.qualname) != (record.origin.file, record.origin.qualname):
        warnings.warn(
            f"{task_id} stood for {record.origin} and now stands for {new}; "
            "give one of them another name with register_env(..., name='Other') to keep both",
            stacklevel=3,
        )


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _same(one: type, two: type) -> bool:
    """Whether both are one class, or versions of it; a file may have been imported under several names."""
    file = origins.file_of(one)
    same_file = file is not None and file == origins.file_of(two)
    return _place(one) == _place(two) or (same_file and one.__qualname__ == two.__qualname__)
