"""Finding a compiler and running it."""

from __future__ import annotations

import os
import signal
import sysconfig
import threading
import time
from pathlib import Path

import psutil
import pytest
from newcomer import compiler_script

from envpool_protocol import compiler, resources
from envpool_protocol.compiler import Compiler, compile_module, find_compiler
from envpool_protocol.errors import BuildError


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


SAYS_VERSION = 'echo "Fine C++ 20.1"; echo "Copyright"'


# Finding


def test_cxx_wins_over_what_is_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin" / "g++", SAYS_VERSION)
    asked = program(tmp_path / "mine", SAYS_VERSION)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CXX", str(asked))
    assert find_compiler() == Compiler(str(asked), "Fine C++ 20.1")
    monkeypatch.setenv("CXX", "")
    assert find_compiler().path == str(tmp_path / "bin" / "g++")


@pytest.mark.parametrize("name", ["g++", "clang++", "c++"])
def test_any_of_the_usual_compilers_on_the_path_will_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / name, SAYS_VERSION)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert find_compiler().path == str(tmp_path / name)


def test_machine_without_a_compiler_is_told_which_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        BuildError, match=r"none of g\+\+, clang\+\+, c\+\+ on PATH.*apt-get install g\+\+"
    ) as caught:
        find_compiler()
    assert caught.value.source_path is None


@pytest.mark.parametrize("asked", ["nonsense", "nonsense g++", "/no/such/compiler", "a 'quote", "  "])
def test_cxx_that_is_no_program_is_named(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", asked)
    with pytest.raises(BuildError, match=r"which is not a program.*apt-get install") as caught:
        find_compiler()
    assert f"CXX={asked!r}" in str(caught.value)


def test_cxx_with_arguments_is_a_compiler_with_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`CXX="ccache g++"` is what many shells have set, and what the Makefile's first check accepts."""
    cache = program(tmp_path / "ccache", '"$@"')
    program(tmp_path / "g++", 'echo "$@"')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "ccache g++ '-DNAME=a b'")
    found = find_compiler()
    assert (found.path, found.arguments) == (str(cache), ("g++", "-DNAME=a b"))
    assert found.version == "-DNAME=a b --version"


def test_compiler_in_a_folder_with_a_space_is_not_cut_at_the_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = program(tmp_path / "my tools" / "c++", SAYS_VERSION)
    monkeypatch.setenv("CXX", str(asked))
    assert (find_compiler().path, find_compiler().arguments) == (str(asked), ())


@pytest.mark.parametrize(
    ("script", "why"),
    [("exit 3", "exit status 3"), ("kill -9 $$", "SIGKILL"), ("echo no cc1plus. >&2; exit 1", "no cc1plus")],
)
def test_compiler_that_cannot_say_its_version_is_a_build_error(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(program(tmp_path / "broken", script)))
    with pytest.raises(BuildError, match=rf"broken --version failed: .*{why}[^.]*\. Install one"):
        find_compiler()


def test_version_need_not_be_in_the_encoding_of_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(program(tmp_path / "c++", r"printf 'caf\351 1.0\n'")))
    assert find_compiler().version == "caf\ufffd 1.0"


def test_version_is_asked_again_when_the_compiler_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path / "c++", "echo 1.0")
    monkeypatch.setenv("CXX", str(path))
    assert find_compiler().version == "1.0"
    program(path, "echo 2.0")
    os.utime(path, (1, 1))
    assert find_compiler().version == "2.0"


def test_tool_that_is_not_installed_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BuildError, match="no_such_tool not found; `pip install no_such_tool`"):
        compiler.tool_path("no_such_tool")


# Compiling


LISTS = "cmake_minimum_required(VERSION 3.20)\nproject(m LANGUAGES CXX)\nadd_library(m MODULE m.cc)\n"
TARGET = 'set_target_properties(m PROPERTIES PREFIX "" SUFFIX "{}")\n'


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A CMake project without Python in it, so that it compiles in no time."""
    folder = tmp_path / "sour ces é"
    folder.mkdir()
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX"))
    (folder / "CMakeLists.txt").write_text(LISTS + TARGET.format(suffix), "utf-8")
    (folder / "m.cc").write_text("int answer() { return 42; }\n")
    return folder


def compiled(sources: Path, report: list[str], tool: Compiler | None = None) -> Path:
    build = sources / "build"
    found = tool or find_compiler()
    return compile_module("m", sources, build, resources.include_dir(), found, report.append)


def test_module_is_compiled_and_every_line_is_reported_as_it_comes(sources: Path) -> None:
    lines: list[str] = []
    assert compiled(sources, lines) == sources / "build" / compiler.extension_name("m")
    assert (sources / "build" / compiler.extension_name("m")).is_file()
    assert any("Linking" in line for line in lines) and not any(line.endswith("\n") for line in lines)


def test_arguments_of_cxx_reach_the_compiler(sources: Path) -> None:
    (sources / "m.cc").write_text("static_assert(ANSWER == 42);\n")
    tool = find_compiler()
    compiled(sources, [], Compiler(tool.path, tool.version, ("-DANSWER=42",)))


def test_refused_source_is_a_build_error_with_the_compilers_words(sources: Path) -> None:
    (sources / "m.cc").write_text("int answer() { return forty_two; }\n")
    with pytest.raises(BuildError) as caught:
        compiled(sources, [])
    assert "m did not compile" in str(caught.value) and str(sources) in str(caught.value)
    assert "forty_two" in str(caught.value) and "forty_two" in caught.value.output
    assert caught.value.source_path == sources


def test_long_output_is_cut_in_the_message_and_whole_in_the_error(sources: Path) -> None:
    (sources / "m.cc").write_text("".join(f"int a{i} = b{i};\n" for i in range(100)))
    with pytest.raises(BuildError) as caught:
        compiled(sources, [])
    assert len(str(caught.value).splitlines()) < 45
    assert "b0" in caught.value.output and "b99" in caught.value.output


def hanging(tmp_path: Path) -> Compiler:
    """A compiler that never ends a compilation, and leaves its number in `pid`."""
    then = f'case "$*" in *"-c "*m.cc*) echo $$ > {tmp_path}/pid; exec sleep 100;; esac'
    return Compiler(str(compiler_script(tmp_path / "hang" / "c++", then)), "1")


def assert_ends(pid_file: Path) -> None:
    pid, deadline = int(pid_file.read_text()), time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the compiler outlives its build"
        time.sleep(0.01)


def test_compiler_that_hangs_is_ended_at_the_deadline(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "BUILD_DEADLINE", 5)
    with pytest.raises(BuildError, match="ended after 5 s"):
        compiled(sources, [], hanging(tmp_path))
    assert_ends(tmp_path / "pid")


def test_interrupted_build_takes_its_compilers_with_it(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they write into a folder that is being deleted, and the machine stays busy."""

    def press_ctrl_c() -> None:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=press_ctrl_c, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        compiled(sources, [], hanging(tmp_path))
    assert_ends(tmp_path / "pid")
