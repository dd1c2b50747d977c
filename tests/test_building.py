"""Building a module: once, under a key that lists all it depends on, published whole or not at all."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pybind11
import pytest
from envs import Counting, Nested
from newcomer import CACHED, COMPILED, GENERATE, MADE, MAKE, MY_ENV, Newcomer, compiler_script

import envpool_protocol
import envpool_wrap
from envpool_protocol import CppWrapperGenerator, building, compiler, records, resources
from envpool_protocol.errors import (
    BuildError,
)

generate = CppWrapperGenerator.generate_envpool_wrap


# The key: change one ingredient, and the key changes


TOOL = compiler.Compiler("/usr/bin/c++", "Fine C++ 20.1", ("-pipe",))
SOURCES = {"env.cc": "int a;", "module.cc": "int b;"}


def key(**changes: Any) -> str:
    return building.module_key(changes.pop("sources", SOURCES), replace(TOOL, **changes))


def test_key_is_the_same_for_the_same_ingredients_in_any_order() -> None:
    assert key() == key(sources=dict(reversed(SOURCES.items())))


@pytest.mark.parametrize(
    "changed",
    [
        {"sources": {**SOURCES, "env.cc": "int c;"}},
        {"sources": {"env.cc": SOURCES["module.cc"], "module.cc": SOURCES["env.cc"]}},
        {"sources": {**SOURCES, "more.cc": ""}},
        {"path": "/usr/bin/g++"},
        {"version": "Fine C++ 20.2"},
        {"arguments": ("-O0",)},
        {"arguments": ()},
        {"arguments": ("-p", "ipe")},
    ],
    ids=[
        "a source",
        "sources swapped",
        "a source more",
        "path",
        "version",
        "arguments",
        "no arguments",
        "arguments cut elsewhere",
    ],
)
def test_key_depends_on_sources_and_compiler(changed: dict[str, Any]) -> None:
    assert key(**changed) != key()


@pytest.mark.parametrize("variable", ["CXXFLAGS", "CPPFLAGS", "LDFLAGS"])
def test_key_depends_on_the_flags_that_cmake_reads(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setenv(variable, "-O1")
    assert key() != before


def test_key_takes_paths_that_are_not_in_the_encoding_of_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for flags in (b"-I/caf\xe9", b"-I/caf\xe8"):
        monkeypatch.setenv("CXXFLAGS", os.fsdecode(flags))
        keys.add(key())
    assert len(keys) == 2


def test_key_depends_on_the_core_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, headers = key(), resources.headers()
    for at, header in enumerate(headers):
        changed = tmp_path / header.name
        changed.write_text(header.read_text("utf-8") + "\n", "utf-8")
        monkeypatch.setattr(
            resources, "headers", lambda at=at, new=changed: [*headers[:at], new, *headers[at + 1 :]]
        )
        assert key() != before, header.name


def test_key_depends_on_the_interpreters_abi(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(compiler, "extension_name", lambda module: f"{module}.cpython-399-other.so")
    assert key() != before


def test_key_depends_on_pybind11(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(pybind11, "__version__", "99")
    assert key() != before


def test_key_depends_on_our_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(envpool_protocol, "__version__", "99")
    assert key() != before


def test_key_depends_on_the_engines_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(envpool_protocol._core, "abi", 99)
    assert key() != before


# Generating


def test_generated_module_is_found_the_second_time(task_id: Callable[[type], str]) -> None:
    task_id(Counting)
    made = generate(Counting)
    assert made.cached and made.task_id == "Counting_wrap" and made.path.is_file()
    assert made.key in str(made.path) and made.seconds > 0
    assert CppWrapperGenerator.render(Counting) == CppWrapperGenerator.render("Counting_wrap")


def test_published_folder_holds_the_sources_and_the_module_and_no_build_files(
    task_id: Callable[[type], str],
) -> None:
    task_id(Nested)
    made = generate(Nested)
    assert {path.name for path in made.path.parent.iterdir()} == {
        *CppWrapperGenerator.render(Nested),
        made.path.name,
    }
    for name, text in CppWrapperGenerator.render(Nested).items():
        assert (made.path.parent / name).read_text("utf-8") == text
    folder = made.path.parent  # beside it others are being built
    assert not list(folder.parent.glob(f".{folder.name}*"))
    assert made.path.parent.stat().st_mode & 0o777 == 0o755


def test_nothing_is_written_below_the_packages(cold_user: Newcomer) -> None:
    """They may be read-only, which root would not notice."""

    def files() -> dict[Path, tuple[int, int]]:
        folders = {Path(package.__file__ or "").parent for package in (envpool_protocol, envpool_wrap)}
        folders |= {resources.templates(), resources.include_dir() / "cpp_core"}
        found = (path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts)
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found if path.is_file()}

    before = files()
    cold_user.write("my_env.py", MY_ENV, GENERATE)
    assert cold_user.run("my_env.py") == COMPILED
    assert cold_user.run(cold_user.write("use.py", MAKE)) == MADE
    assert files() == before
    assert {path.name for path in cold_user.folder.iterdir()} == {"my_env.py", "use.py"}


def test_folders_with_spaces_and_foreign_letters_do_not_break_the_build(
    tmp_path: Path, logging_compiler: Path
) -> None:
    odd = tmp_path / "mein Ordner é 環境 $x 'q' #1"
    compiler_path = compiler_script(odd / "tools" / "c++")
    user = Newcomer(odd / "folder", odd / "home", compiler_path)
    user.write("my_env.py", MY_ENV, GENERATE)
    assert user.run("my_env.py") == COMPILED
    assert user.run("my_env.py") == CACHED
    assert user.run(user.write("use.py", MAKE)) == MADE


def test_four_processes_that_generate_at_once_build_once(cold_user: Newcomer) -> None:
    cold_user.write("my_env.py", MY_ENV, GENERATE)
    running = [cold_user.start("my_env.py") for _ in range(4)]
    said = [process.communicate(timeout=100) for process in running]
    assert sorted(said) == [(CACHED, ""), (CACHED, ""), (CACHED, ""), (COMPILED, "")]
    assert cold_user.builds == 1
    assert cold_user.run(cold_user.write("use.py", MAKE)) == MADE


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_builder_leaves_nothing_that_breaks_or_outlives_the_next(cold_user: Newcomer) -> None:
    cold_user.write("my_env.py", MY_ENV, GENERATE)
    first = cold_user.start("my_env.py")
    wait_until(lambda: cold_user.builds == 1)
    for process in (psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    first.communicate(timeout=60)
    modules = cold_user.home / "modules"
    assert [path.name.startswith(".MyEnv-") for path in modules.iterdir()] == [True]
    assert cold_user.run("-c", "import envpool_wrap; print(envpool_wrap.list_all_envs())") == "[]\n"
    assert cold_user.run("my_env.py") == COMPILED
    assert [path.name.startswith("MyEnv-") for path in modules.iterdir()] == [True]
    assert cold_user.run(cold_user.write("use.py", MAKE)) == MADE


def test_forced_build_replaces_a_module_that_is_in_use(cold_user: Newcomer) -> None:
    pooling = """
        import os
        import numpy as np, envpool_wrap as envpool
        if __name__ == "__main__":
            first = CppWrapperGenerator.generate_envpool_wrap(MyEnv)
            pool = envpool.make("MyEnv_wrap", env_type="gym", num_envs=2)
            pool.reset()
            file = os.stat(first.path)
            second = CppWrapperGenerator.generate_envpool_wrap(MyEnv, force=True)
            assert not second.cached and (second.path, second.key) == (first.path, first.key)
            assert os.stat(second.path).st_ino != file.st_ino
            print(pool.step(np.zeros((2, 1), np.float32))[0][1, 0])
            pool.close()
            with envpool.make("MyEnv_wrap", env_type="gym") as other:
                print(other.reset()[0].shape)
    """
    cold_user.write("my_env.py", MY_ENV, pooling)
    assert cold_user.run("my_env.py") == "11.0\n(1, 3)\n"
    assert cold_user.builds == 2
    folders = [path.name for path in (cold_user.home / "modules").iterdir()]
    assert len(folders) == 1 and not folders[0].startswith(".")


@pytest.mark.usefixtures("registry")
def test_module_may_be_put_somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Placed(Counting): ...

    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    made = generate(Placed, output_dir="my modules", report=lines.append)
    assert made.path.is_relative_to(tmp_path / "my modules") and not made.cached
    assert any("env.cc" in line for line in lines), "the compiler's progress is not reported"
    assert generate(Placed, output_dir=tmp_path / "my modules").cached
    monkeypatch.chdir("/")
    with envpool_wrap.make("Placed_wrap", env_type="gym") as pool:
        assert pool.reset()[0].shape == (1, 3)


def test_compiler_is_heard_only_when_asked(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def compile_module(*arguments: Any) -> Path:
        arguments[-1]("[1/2] Building CXX object")
        raise BuildError("enough")

    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path))
    monkeypatch.setattr(compiler, "compile_module", compile_module)
    for verbose, heard in ((False, ""), (True, "[1/2] Building CXX object\n")):
        with pytest.raises(BuildError, match="enough"):
            generate(Counting, verbose=verbose)
        assert capfd.readouterr() == (heard, "")


# Failing


@pytest.mark.parametrize("environ", [{"CXX": "nonsense"}, {"CXX": "", "PATH": ""}], ids=["CXX", "PATH"])
def test_missing_compiler_is_named_with_its_package(environ: dict[str, str], cold_user: Newcomer) -> None:
    cold_user.write("my_env.py", MY_ENV, GENERATE)
    cold_user.environ.update(environ)
    error = cold_user.fail("my_env.py")
    assert "BuildError: no C++ compiler found" in error and "apt-get install g++" in error
    assert not list(cold_user.home.rglob("*MyEnv*"))


def test_module_that_is_there_is_pooled_without_a_compiler(user: Newcomer) -> None:
    user.write("my_env.py", MY_ENV, GENERATE)
    user.run("my_env.py")
    user.environ.update(CXX="", PATH="")
    assert user.run(user.write("use.py", MAKE)) == MADE


def test_refused_sources_are_kept_with_the_compilers_words_and_nothing_else_is(
    user: Newcomer, tmp_path: Path
) -> None:
    then = 'case "$*" in *"-c "*.cc*) echo "env.cc:1: error: not today"; exit 1;; esac'
    user.environ["CXX"] = str(compiler_script(tmp_path / "refuses" / "c++", then))
    catching = """
        from envpool_protocol.errors import BuildError
        try:
            CppWrapperGenerator.generate_envpool_wrap(MyEnv)
        except BuildError as error:
            assert "not today" in error.output and "not today" in str(error)
            assert str(error.source_path) in str(error)
            print(error.source_path)
            print(sorted(path.name for path in error.source_path.iterdir()))
    """
    user.write("my_env.py", MY_ENV, catching)
    before = set((user.home / "modules").iterdir())
    for _ in range(2):  # the second meets what the first has kept
        path, names = user.run("my_env.py").splitlines()
        assert Path(path).parent == user.home / "failed"
        assert names == "['CMakeLists.txt', 'env.cc', 'module.cc']"
        assert set((user.home / "modules").iterdir()) == before and not (user.home / "records").exists()
    user.environ["CXX"] = str(user.compiler)
    assert user.run(user.write("again.py", MY_ENV, GENERATE)) in (COMPILED, CACHED)


def test_home_that_cannot_be_written_is_named_with_the_way_out_before_anything_is_compiled(
    cold_user: Newcomer,
) -> None:
    cold_user.write("my_env.py", MY_ENV, GENERATE)
    cold_user.write("file")
    cold_user.environ["ENVPOOL_WRAP_HOME"] = home = str(cold_user.folder / "file" / "home")
    error = cold_user.fail("my_env.py").splitlines()[-1]
    assert "BuildError: nothing can be written into" in error and home in error
    assert "set ENVPOOL_WRAP_HOME" in error and cold_user.builds == 0


@pytest.mark.parametrize("output_dir", [None, "shared"], ids=["at home", "where several homes build"])
def test_builder_that_never_ends_does_not_hold_the_others_for_ever(
    output_dir: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path))
    monkeypatch.setattr(compiler, "BUILD_DEADLINE", 0.1)
    sources, tool = CppWrapperGenerator.render(Counting), compiler.find_compiler()
    locks = Path(output_dir, ".locks") if output_dir else records.home() / "locks"
    lock = locks / f"Counting-{building.module_key(sources, tool)}.lock"
    lock.parent.mkdir(parents=True)
    holding = """if True:
        import sys, filelock
        with filelock.FileLock(sys.argv[1]):
            print("held", flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", holding, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(
            BuildError, match=r"another process has been building Counting for too long; it holds"
        ):
            generate(Counting, output_dir=output_dir)
        other.communicate()
