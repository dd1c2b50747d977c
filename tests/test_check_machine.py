"""Each missing piece is named with its package, and only then; a whole machine passes in silence."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "check_machine.py"


@pytest.fixture
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_machine", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    return folder


def write_program(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


def test_a_whole_machine_passes_in_silence():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_old_interpreter_can_read_it():
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


def test_no_compiler_names_the_package_of_each_system(empty_path):
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 1
    assert "Missing: C++ compiler\n" in done.stdout
    for command in ("apt-get install g++", "dnf install gcc-c++", "xcode-select --install"):
        assert command in done.stdout
    assert "Python.h" not in done.stdout


def test_an_unknown_CXX_is_named(check, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    (lines,) = check.missing_compiler()
    assert "CXX=no-such-compiler -O1 is not there" in lines


def test_CXX_may_carry_flags(check, monkeypatch):
    monkeypatch.setenv("CXX", f"{check.compiler()} -Wall")
    assert list(check.missing_compiler()) == []


def test_a_compiler_without_cxx20_is_told_from_none(check, empty_path):
    write_program(empty_path / "g++", 'for word; do [ "$word" = -std=c++20 ] && exit 1; done; exit 0')
    (lines,) = check.missing_compiler()
    assert "C++20 (g++ cannot make such a program" in lines


def test_the_probe_is_compiled_as_cxx20(check, monkeypatch):
    monkeypatch.setattr(check, "PROGRAM", "#if __cplusplus >= 202002L\n#error\n#endif\n" + check.PROGRAM)
    assert not check.compiles(check.compiler())


def test_an_old_interpreter_is_told_of_a_newer_one(check, empty_path, monkeypatch):
    monkeypatch.setattr(check, "version", lambda: (3, 9))
    write_program(empty_path / "python3.12", "exit 0")
    write_program(empty_path / "python3.13", "exit 127")  # a shim without its program
    (lines,) = check.missing_python()
    assert "Python 3.11 or newer" in lines
    assert "make PYTHON=python3.12" in lines


def test_an_old_interpreter_alone_is_told_what_to_install(check, empty_path, monkeypatch):
    monkeypatch.setattr(check, "version", lambda: (3, 9))
    lines = "\n".join(check.missing_python())
    assert "apt-get install python3.11 python3.11-venv python3.11-dev" in lines
    assert "make PYTHON=python3.11" in lines


@pytest.mark.parametrize("found", [None, ModuleSpec("left", None)], ids=["nothing", "an empty folder"])
@pytest.mark.parametrize("absent", ["venv", "ensurepip"])
def test_no_venv(check, monkeypatch, absent, found):
    monkeypatch.setattr(check, "version", lambda: (3, 12))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: found if name == absent else find_spec(name)
    )
    (lines,) = check.missing_python()
    assert "apt-get install python3.12-venv" in lines


def test_no_headers(check, monkeypatch, tmp_path):
    monkeypatch.setattr(check, "version", lambda: (3, 12))
    monkeypatch.setattr(check.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    (lines,) = check.missing_python()
    assert "apt-get install python3.12-dev" in lines
    assert "dnf install python3.12-devel" in lines


def test_all_that_is_missing_is_listed_at_once(check, empty_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "has_venv", lambda: False)
    monkeypatch.setattr(check, "has_headers", lambda: False)
    assert check.main() == 1
    printed = capsys.readouterr().out
    assert printed.count("Missing: ") == 3
    assert "Handy, not needed: make" in printed
    assert "Nothing has been downloaded" in printed


def test_make_alone_is_not_an_error(check, empty_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "missing_compiler", list)
    assert check.main() == 0
    assert shutil.which("make") is None
    assert "Handy, not needed: make" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["demo", "test"])
def test_make_checks_before_it_makes_or_downloads_anything(word, tmp_path):
    for name in ("Makefile", "tools", "pyproject.toml", "CMakeLists.txt", "constraints.txt", "cpp_core"):
        (tmp_path / name).symlink_to(SCRIPT.parents[1] / name)
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", word]
    environment = {**os.environ, "CXX": "no-such-compiler"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stdout.startswith("Missing: C++ compiler (CXX=no-such-compiler is not there)\n")
    assert not (tmp_path / ".venv").exists()
