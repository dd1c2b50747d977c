"""C++ of the benchmarks, compiled when it is needed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path

from envpool_protocol.resources import include_dir

_FOLDER = Path(__file__).parent / "cpp"


def build(name: str) -> Path:
    """The library of `cpp/{name}.cc`, made again when that changed."""
    source, folder = _FOLDER / f"{name}.cc", Path(os.environ["ENVPOOL_WRAP_HOME"])
    library = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CXX") or "c++")
        flags = ["-std=c++20", "-O3", "-DNDEBUG", "-shared", "-fPIC", "-pthread"]
        flags += [f"-I{sysconfig.get_path('include')}", f"-I{include_dir()}"]
        built = library.with_suffix(f".{os.getpid()}")
        subprocess.run([*compiler, *flags, str(source), "-o", str(built)], check=True)
        built.replace(library)
    return library
