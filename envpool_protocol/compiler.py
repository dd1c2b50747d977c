"""Find the tools, configure, compile. Knows nothing of envs.

The compiler is `$CXX`, else the first of g++, clang++ and c++ on the path; CMake and Ninja come from their
Python packages, so nothing but a C++20 compiler has to be installed by hand.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from envpool_protocol.errors import BuildError

BUILD_DEADLINE = 600  # seconds; a module takes about five
_CANDIDATES = ("g++", "clang++", "c++")
_INSTALL = (
    "Install one: `apt-get install g++` (Debian, Ubuntu), `dnf install gcc-c++` (Fedora), "
    "`xcode-select --install` (macOS); or set CXX to the compiler's path."
)


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: where it is, and the first line of what it says of itself."""

    path: str
    version: str


def find_compiler() -> Compiler:
    """The C++ compiler to use.

    Raises:
        BuildError: there is none; the message names the package to install.
    """
    asked = os.environ.get("CXX")
    path = next(filter(None, map(shutil.which, [asked] if asked else _CANDIDATES)), None)
    if path is None:
        looked_for = (
            f"CXX={asked!r}, which is not a program" if asked else f"none of {', '.join(_CANDIDATES)} on PATH"
        )
        raise BuildError(f"no C++ compiler found: {looked_for}. {_INSTALL}")
    stat = os.stat(path)
    return Compiler(path, _version(path, stat.st_mtime_ns))


@functools.lru_cache
def _version(path: str, _mtime: int) -> str:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{path} --version failed: {error}. {_INSTALL}") from error
    return said.stdout.partition("\n")[0]


def _tool(name: str) -> str:
    """The program `name` from the Python package of that name, else from the path."""
    spec = importlib.util.find_spec(name)
    for folder in spec.submodule_search_locations or () if spec else ():
        for found in (Path(folder, "data", "bin", name), Path(folder, "bin", name)):
            if os.access(found, os.X_OK):
                return str(found)
    beside = Path(sysconfig.get_path("scripts"), name)
    on_path = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if on_path is None:
        raise BuildError(f"{name} not found; `pip install {name}` into this environment")
    return on_path


def extension_name(module: str) -> str:
    """The file name of a compiled module for this interpreter."""
    return module + str(sysconfig.get_config_var("EXT_SUFFIX"))


def compile_module(
    module: str,
    sources: Path,
    build: Path,
    include_dir: Path,
    compiler: Compiler,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Compile the CMake project in `sources` inside `build` and return the module's path.

    `report` gets each line that the tools print, as it comes.

    Raises:
        BuildError: with the tools' output and the path of the sources.
    """
    import pybind11

    configure = [
        *(_tool("cmake"), "-S", str(sources), "-B", str(build), "-G", "Ninja", "-Wno-dev"),
        f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}",
        f"-DCMAKE_CXX_COMPILER={compiler.path}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-DENVPOOL_INCLUDE={include_dir}",
    ]
    output: list[str] = []
    for command in (configure, [_tool("cmake"), "--build", str(build)]):
        if _run(command, output, report) != 0:
            message = f"{module} did not compile; the sources are in {sources}\n{_tail(output)}"
            raise BuildError(message, "".join(output), sources)
    return build / extension_name(module)


def _run(command: list[str], output: list[str], report: Callable[[str], None]) -> int:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as tool:
        assert tool.stdout is not None
        try:
            for line in tool.stdout:
                output.append(line)
                report(line.rstrip())
            return tool.wait(timeout=BUILD_DEADLINE)
        except BaseException:
            tool.kill()
            raise


def _tail(output: list[str], lines: int = 40) -> str:
    return "".join(output[-lines:]).rstrip()
