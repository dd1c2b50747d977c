"""From a description to a compiled module on disk: built once, by a key of all that it depends on.

One process builds, under a lock per key; the others wait for it. The result is put in place in one move, so
that nothing half-made is ever found; what a killed builder left is removed by the next one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from envpool_protocol import compiler, generator, records, resources
from envpool_protocol.compiled.hooks import OBJECT, CompiledHooks
from envpool_protocol.cpp_text import module_name
from envpool_protocol.errors import BuildError
from envpool_protocol.sources import Description

# Read by CMake on its own account.
_FLAG_VARIABLES = ("CXXFLAGS", "CPPFLAGS", "LDFLAGS")


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
        digest.update(f"{len(ingredient)}:{ingredient}".encode(errors="surrogateescape"))  # as paths have
    return digest.hexdigest()[:24]


def build(
    description: Description,
    output_dir: Path | None,
    force: bool,
    report: Callable[[str], None],
    hooks: CompiledHooks | None = None,
) -> tuple[Path, str, bool]:
    """The compiled module below `output_dir`, else at home; its key, and whether it was there already.

    Raises:
        BuildError: no compiler, or it refused the sources, which are kept in `failed/`; a hook that does
            not compile; a folder that cannot be written.
        ImportError: there are hooks to compile, and no Numba.
    """
    import filelock

    sources = generator.render(description, hooks)
    tool = compiler.find_compiler()
    key = module_key(sources, tool)
    name = description.spec.name
    modules, locks = records.home() / "modules", records.home() / "locks"
    if output_dir is not None:  # where those may build, too, who have another home
        modules, locks = output_dir, output_dir / ".locks"
    folder = modules / f"{name}-{key}"
    module = folder / compiler.extension_name(module_name(name))
    if module.exists() and not force:
        return module, key, True
    records.writable(modules)
    lock_file = records.writable(locks) / f"{name}-{key}.lock"
    lock = filelock.FileLock(lock_file, timeout=compiler.BUILD_DEADLINE)
    try:
        with lock:
            if module.exists() and not force:
                return module, key, True
            objects = {OBJECT: hooks.object_code()} if hooks else {}
            _compile_and_publish(sources, objects, module_name(name), folder, tool, report)
    except filelock.Timeout as error:
        raise BuildError(
            f"another process has been building {name} for too long; it holds {error.lock_file}"
        ) from None
    return module, key, False


def _compile_and_publish(
    sources: dict[str, str],
    objects: dict[str, bytes],
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
        for name, code in objects.items():
            (work / name).write_bytes(code)
        build = work / "build"
        try:
            built = compiler.compile_module(module, work, build, resources.include_dir(), tool, report)
        except BuildError as error:
            raise with_kept_sources(error, work, folder.name) from None
        built.replace(work / built.name)
        shutil.rmtree(build)
        work.chmod(0o755)  # mkdtemp's folders are private
        _replace_folder(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def with_kept_sources(error: BuildError, work: Path, name: str) -> BuildError:
    """`error`, with the sources of the folder `work`, which will be gone, kept below the home folder."""
    kept = records.home() / "failed" / name
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
