"""What users import, and what that costs them."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import envpool_protocol
import envpool_wrap

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
HEAVY = ("torch", "jax", "ray", "gym", "gymnasium", "jinja2", "pybind11", "cloudpickle", "filelock", "dm_env")


@pytest.mark.parametrize("package", [envpool_protocol, envpool_wrap], ids=lambda package: package.__name__)
def test_all_lists_what_is_exported_and_nothing_else(package: ModuleType) -> None:
    names: dict[str, object] = {}
    exec(f"from {package.__name__} import *", names)
    exported = {name for name in names if name != "__builtins__"}
    assert exported == set(package.__all__) and list(package.__all__) == sorted(package.__all__)
    seen = {name for name in dir(package) if not name.startswith("_")}
    modules = {name for name in seen if inspect.ismodule(getattr(package, name))}
    assert seen - modules == {name for name in package.__all__ if not name.startswith("_")}


def test_every_public_name_is_in_the_reference() -> None:
    told = {
        name
        for page in REFERENCE.glob("*.md")
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text("utf-8"), re.M)
    }
    public = {
        f"{package.__name__}.{name}"
        for package in (envpool_protocol, envpool_wrap)
        for name in package.__all__
        if not name.startswith("_")
    }
    assert public - told == set()


def test_names_that_the_seed_readme_imports_are_where_it_imports_them_from() -> None:
    manager = importlib.import_module("envpool_protocol.manager")
    protocol = importlib.import_module("envpool_protocol.envpool_protocol")
    assert manager.EnvManager is envpool_protocol.EnvManager
    assert manager.CppWrapperGenerator is envpool_protocol.CppWrapperGenerator
    assert protocol.EnvPoolProtocol is envpool_protocol.EnvPoolProtocol


def test_unknown_name_is_an_attribute_error_that_names_the_module() -> None:
    with pytest.raises(AttributeError, match="module 'envpool_wrap' has no attribute 'mak'"):
        envpool_wrap.mak  # noqa: B018


def python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


def test_importing_envpool_wrap_imports_nothing_heavy() -> None:
    code = f"import sys, envpool_wrap; print([name for name in {HEAVY} if name in sys.modules])"
    assert python(code).stdout == "[]\n"


def test_listing_envs_imports_nobodys_code_and_nothing_heavy() -> None:
    heavy = [name for name in HEAVY if name not in ("gymnasium",)]
    code = (
        f"import sys, envpool_wrap as e; e.list_all_envs(); print([n for n in {heavy} if n in sys.modules])"
    )
    assert python(code).stdout == "[]\n"


def test_importing_envpool_wrap_adds_at_most_40_ms_to_numpy() -> None:
    """The least of several runs: a busy machine makes some slower, and none faster."""

    def cost() -> float:
        lines = python("import numpy, envpool_wrap", "-X", "importtime").stderr.splitlines()
        (line,) = [line for line in lines if line.endswith("| envpool_wrap")]
        return int(line.split("|")[1]) / 1000

    assert min(cost() for _ in range(5)) <= 40
