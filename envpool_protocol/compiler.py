"""Find the tools, configure, compile. Knows nothing of envs.

The compiler is `$CXX` (which may have arguments: `ccache g++`), else the first of g++, clang++ and c++ on the
path; CMake and Ninja come from their Python packages, so nothing but a C++20 compiler has to be installed by
hand.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Mapping
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
    """A C++ compiler: where it is, the first line of what it says of itself, and its first arguments."""

    path: str
    version: str
    arguments: tuple[str, ...] = ()


def find_compiler() -> Compiler:
    """The C++ compiler to use.

    Raises:
        BuildError: there is none; the message names the package to install.
    """
    asked = os.environ.get("CXX")
    for program, *arguments in [[asked], _words(asked)] if asked else [[name] for name in _CANDIDATES]:
        path = shutil.which(program)
        if path is not None:
            said = _version((path, *arguments), os.stat(path).st_mtime_ns)
            return Compiler(path, said, tuple(arguments))
    looked_for = (
        f"CXX={asked!r}, which is not a program" if asked else f"none of {', '.join(_CANDIDATES)} on PATH"
    )
    raise BuildError(f"no C++ compiler found: {looked_for}. {_INSTALL}")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command) or [command]
    except ValueError:  # a quote without its partner
        return [command]


@functools.lru_cache
def _version(command: tuple[str, ...], _mtime: int) -> str:
    path = command[0]
    try:
        said = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, errors="replace", timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        why = (getattr(error, "stderr", None) or str(error)).strip().rstrip(".")
        raise BuildError(f"{path} --version failed: {why}. {_INSTALL}") from error
    return said.stdout.partition("\n")[0]


def tool_path(name: str) -> str:
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
    return module + importlib.machinery.EXTENSION_SUFFIXES[0]


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
        *(tool_path("cmake"), "-S", str(sources), "-B", str(build), "-G", "Ninja"),
        f"-DCMAKE_MAKE_PROGRAM={tool_path('ninja')}",
        f"-DCMAKE_CXX_COMPILER={';'.join((compiler.path, *compiler.arguments))}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-DENVPOOL_INCLUDE={include_dir}",
    ]
    output: list[str] = []
    for command in (configure, [tool_path("cmake"), "--build", str(build)]):
        if run_tool(command, output, report) != 0:
            message = f"{module} did not compile; the sources are in {sources}\n{tail(output)}"
            raise BuildError(message, "".join(output), sources)
    return build / extension_name(module)


def run_tool(
    command: list[str],
    output: list[str],
    report: Callable[[str], None],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run a tool in a process group of its own, so that the compilers it started end with it.

    Its exit code; what it prints is added to `output`, and given to `report`, line by line.
    """
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as tool:

        def give_up() -> None:
            output.append(f"ended after {BUILD_DEADLINE} s\n")
            _end(tool)

        deadline = threading.Timer(BUILD_DEADLINE, give_up)
        deadline.start()
        assert tool.stdout is not None
        try:
            for line in tool.stdout:
                output.append(line)
                report(line.rstrip())
            return tool.wait()
        except BaseException:
            _end(tool)
            raise
        finally:
            deadline.cancel()


def _end(tool: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(tool.pid, signal.SIGTERM)  # not KILL: Ninja ends its compilers, which it puts elsewhere


def tail(output: list[str], lines: int = 40) -> str:
    """The end of what tools printed."""
    return "".join(output[-lines:]).rstrip()
