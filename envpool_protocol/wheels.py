"""A wheel of one env: what `make` needs of it, to be installed where there is no compiler.

    envpool_wrap_MyEnv/MyEnv_wrap.json            the record; its paths are relative to this folder
                      /_MyEnv_wrap.<ABI tag>.so   the compiled module
                      /source/my_env.py           the env's file, or the whole package that it is in

The entry point `MyEnv_wrap = envpool_wrap_MyEnv` of the group `envpool_wrap.envs` leads to the record. An env
of an installed package is not copied: the wheel requires that package. The same env gives the same bytes
wherever it is built.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from envpool_protocol import building, compiler, files, generator, origins, records, resources
from envpool_protocol.compiled.hooks import OBJECT, hooks_of
from envpool_protocol.cpp_text import identifier, module_name
from envpool_protocol.errors import BuildError, ConfigError, EnvPoolError, RegistrationError
from envpool_protocol.records import Origin
from envpool_protocol.source_kinds import GymnasiumId
from envpool_protocol.sources import Source

TEMPLATES = ("CMakeLists.txt", "__init__.py", "pyproject.toml")
_SOURCE = "source"
_EPOCH = "315532800"  # 1980-01-01, where the times of ZIP files begin
_LOOK_DEADLINE = 120.0  # seconds to import what the env needs
_LOOK = """
import sys
sys.path.append(sys.argv[2])
from envpool_protocol import wheels
wheels.look(sys.argv[1])
"""
_BUILD = """
import json, sys
from scikit_build_core.build import build_wheel
build_wheel(sys.argv[1], json.loads(sys.argv[2]))
"""


@dataclass(frozen=True)
class Wheel:
    """What the templates are given; requirements are TOML strings.

    Attributes:
        task_id: of the env.
        package: the folder that is installed; pip calls it `distribution`.
        module: the compiled module.
        group: of the entry point.
        requires, build_requires: requirements to run, and to build it.
    """

    task_id: str
    package: str
    distribution: str
    module: str
    version: str
    group: str
    requires: tuple[str, ...]
    build_requires: tuple[str, ...]


def build(
    source: Source, out_dir: Path, version: str, requires: Sequence[str], report: Callable[[str], None]
) -> Path:
    """Build the wheel of an env into `out_dir`: see `CppWrapperGenerator.build_wheel`."""
    origin, copied, needed = _found_elsewhere(source)
    wheel = _wheel_of(source, version, [*needed, *requires])
    description = source.describe()
    hooks = hooks_of(source, description)
    sources = generator.render(description, hooks)
    tool = compiler.find_compiler()
    key, file = building.module_key(sources, tool), compiler.extension_name(wheel.module)
    record = records.record_of(source.name, description.to_json(), origin, file, key)
    with tempfile.TemporaryDirectory(prefix="envpool-wheel.") as scratch:
        work = Path(scratch)
        package = work / wheel.package
        for name, text in generator.filled((f"wheel/{name}" for name in TEMPLATES), {"wheel": wheel}).items():
            _write((package if name.endswith(".py") else work) / Path(name).name, text)
        for name, text in sources.items():
            _write(work / "module" / name, text)
        if hooks is not None:
            (work / "module" / OBJECT).write_bytes(hooks.object_code())
        for header in resources.headers():
            _copy(header, work / "cpp_core" / header.name)
        for path, inside in copied:
            _copy(path, package / _SOURCE / inside)
        _write(package / f"{wheel.task_id}.json", records.text_of(record))
        _look_from_elsewhere(package / f"{wheel.task_id}.json", source)
        try:
            built = _compiled(work, wheel, tool, report)
        except BuildError as error:
            raise building.with_kept_sources(error, work, f"{wheel.package}-{key}") from None
        files.put(out_dir / built.name, built.read_bytes())
        return out_dir / built.name


def _wheel_of(source: Source, version: str, requires: Sequence[str]) -> Wheel:
    import pybind11
    from packaging.requirements import Requirement
    from packaging.version import Version

    from envpool_protocol import __version__

    _check(Version, "version", version, "0.1.0")
    for one in requires:
        _check(Requirement, "requires", one, "torch>=2.4")
    plain = re.sub(r"[-_.]+", "-", source.name).strip("-").lower()
    needed = (f"envpool-wrapper=={__version__}", *requires)
    tools = ("scikit-build-core>=0.11", f"pybind11=={pybind11.__version__}")
    return Wheel(
        task_id=source.task_id,
        package=f"envpool_wrap_{identifier(source.name)}",
        distribution=f"envpool-wrap-{plain}",
        module=module_name(source.name),
        version=version,
        group=records.GROUP,
        requires=tuple(map(json.dumps, needed)),
        build_requires=tuple(map(json.dumps, tools)),
    )


def _check(kind: Callable[[str], object], key: str, text: str, example: str) -> None:
    try:
        kind(text)
    except ValueError:
        raise ConfigError(f"{key}: {text!r}; expected such as {example!r}") from None


# Where the env is found by an interpreter that has nothing but the wheel


def _found_elsewhere(source: Source) -> tuple[Origin, list[tuple[Path, Path]], list[str]]:
    """The origin for the record, what to copy for it (file, path below the copies), and requirements."""
    if not source.travels:
        raise RegistrationError(
            f"{source.task_id} is {source.label}, which stay in this process; {_IN_A_FILE}"
        )
    origin = origins.origin_of(source)
    if isinstance(source, GymnasiumId):
        return replace(origin, root=None), [], [_distribution_of_entry(source)]
    if origin.pickle is not None or origin.file is None:
        raise RegistrationError(
            f"{source.label} is in no file that a wheel could hold, as a lambda or a class of a notebook or "
            f"of a function is not; {_IN_A_FILE}"
        )
    file = Path(origin.file)
    module, root = origins.importable_as(file)
    if "." not in module and "." in origin.module and origin.root:  # a folder without __init__.py
        module, root = origin.module, Path(origin.root)
    distribution = _distribution_of(module)
    if distribution is not None and _is_installed(file):
        return replace(origin, module=module, file=None, root=None), [], [distribution]
    copied = [(path, path.relative_to(root)) for path in _files_of(root / file.relative_to(root).parts[0])]
    inside = str(Path(_SOURCE, file.relative_to(root)))
    return replace(origin, module=module, file=inside, root=_SOURCE), copied, []


_IN_A_FILE = "define a class, or a function that makes envs, at the top level of a .py file"


def _distribution_of_entry(source: GymnasiumId) -> str:
    entry = source.target.entry_point
    module = entry.partition(":")[0] if isinstance(entry, str) else ""
    distribution = _distribution_of(module)
    if distribution is None:
        raise RegistrationError(
            f"gymnasium's {source.label} is made by {entry!r}, which is in no installed package; {_IN_A_FILE}"
        )
    return distribution


def _distribution_of(module: str) -> str | None:
    """The installed distribution that `import module` comes from, or None."""
    return next(iter(metadata.packages_distributions().get(module.partition(".")[0], ())), None)


def _is_installed(file: Path) -> bool:
    folders = (Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib"))
    return any(file.is_relative_to(folder) for folder in folders)


def _files_of(top: Path) -> Iterator[Path]:
    """A file, or all files of a package but caches and what is hidden, in order."""
    if top.is_file():
        yield top
        return
    for path in sorted(top.iterdir()):
        if not path.name.startswith(".") and path.name != "__pycache__" and path.suffix != ".pyc":
            yield from _files_of(path)


def _look_from_elsewhere(record: Path, source: Source) -> None:
    """Raise RegistrationError unless a fresh interpreter finds the env by its record alone."""
    command = [sys.executable, "-P", "-c", _LOOK, str(record), str(Path(__file__).resolve().parents[1])]
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(
            command, cwd="/", env=elsewhere, capture_output=True, text=True, timeout=_LOOK_DEADLINE
        )
    except subprocess.TimeoutExpired:
        raise RegistrationError(f"importing {source.label} took more than {_LOOK_DEADLINE:g} s") from None
    if done.returncode != 0:
        told = done.stderr.strip().rpartition("\n")[2]
        raise RegistrationError(
            f"{source.task_id}: an interpreter that has only the wheel cannot load {source.label} ({told}). "
            "A wheel holds the env's file, or the whole package (a folder with __init__.py) that it is in; "
            "what else it imports has to be installed, and is named by `requires`"
        )


def look(path: str) -> None:
    """Find the env of a record, and compare; exits with what is wrong. Run by the interpreter elsewhere."""
    record = records.read_installed(Path(path))
    try:
        found = origins.load_source(record).describe()
    except EnvPoolError as error:
        cause = error.__cause__ or error
        sys.exit(f"{type(cause).__name__}: {cause}")
    if found.to_json() != record.description:
        sys.exit("its spaces or hooks differ there")


# Building


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o644)  # whatever the umask: it is part of the wheel


def _copy(file: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, path)
    path.chmod(0o644)


def _compiled(work: Path, wheel: Wheel, tool: compiler.Compiler, report: Callable[[str], None]) -> Path:
    import pybind11

    settings = {
        "cmake.define.CMAKE_CXX_COMPILER": ";".join((tool.path, *tool.arguments)),
        "cmake.define.CMAKE_MAKE_PROGRAM": compiler.tool_path("ninja"),
        "cmake.define.pybind11_DIR": pybind11.get_cmake_dir(),
    }
    command = [sys.executable, "-P", "-c", _BUILD, str(work / "wheel"), json.dumps(settings)]
    environ = {"SOURCE_DATE_EPOCH": _EPOCH, **os.environ, "CMAKE_GENERATOR": "Ninja"}
    output: list[str] = []
    if compiler.run_tool(command, output, report, cwd=work, env=environ) != 0:
        message = f"the wheel of {wheel.task_id} could not be built; its sources are in {work}"
        raise BuildError(f"{message}\n{compiler.tail(output)}", "".join(output), work)
    return next((work / "wheel").glob("*.whl"))
