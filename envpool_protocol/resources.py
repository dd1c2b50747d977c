"""Where templates and core headers lie: inside an installed package, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _find(folder: str) -> Path:
    for place in (_PACKAGE / folder, _PACKAGE.parent / folder):
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"{folder}/ is neither in {_PACKAGE} nor beside it: the installation is incomplete; install it again"
    )


_HEADERS = (
    "kernel_abi.h",
    "kernel_runtime.h",
    "leaf.h",
    "module_abi.h",
    "py_envs.h",
    "py_hooks.h",
    "py_info.h",
    "py_leaves.h",
    "py_methods.h",
    "py_raw.h",
    "py_results.h",
)


def templates() -> Path:
    """The folder of the jinja2 templates."""
    return _find("cpp_templates")


def headers() -> list[Path]:
    """The core headers that a generated module includes, sorted."""
    return sorted(_find("cpp_core") / name for name in _HEADERS)


def include_dir() -> Path:
    """The folder to put on the include path: `#include "cpp_core/leaf.h"` then works."""
    return _find("cpp_core").parent
