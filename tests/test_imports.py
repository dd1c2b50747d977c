"""Other people's packages: those that are missing, and those that are imported later or not at all."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envpool_wrap.imports import needs, once_imported


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that can be imported."""
    (tmp_path / "a_late_one.py").write_text("done = []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield "a_late_one"
    sys.modules.pop("a_late_one", None)


def test_a_module_is_missed_or_met_half_imported(late: str) -> None:
    def meet() -> None:
        sys.modules[late].done.append("met")

    once_imported(late, meet)
    finders = len(sys.meta_path)
    assert late not in sys.modules
    assert importlib.import_module(late).done == ["met"]
    assert len(sys.meta_path) == finders - 1
    once_imported(late, meet)
    assert sys.modules[late].done == ["met", "met"]


def test_whoever_asks_for_a_module_without_importing_it_ends_the_wait(late: str) -> None:
    met: list[str] = []
    once_imported(late, lambda: met.append(late))
    assert importlib.util.find_spec(late) is not None
    assert met == []
    importlib.import_module(late)
    assert met == [late]


def test_an_import_that_fails_ends_the_wait(late: str, tmp_path: Path) -> None:
    met: list[str] = []
    once_imported(late, lambda: met.append(late))
    text = (tmp_path / f"{late}.py").read_text()
    (tmp_path / f"{late}.py").write_text("raise ValueError('not yet')\n")
    with pytest.raises(ValueError, match="not yet"):
        importlib.import_module(late)
    (tmp_path / f"{late}.py").write_text(text + "# longer, or the bytecode of the one before would do\n")
    importlib.invalidate_caches()
    importlib.import_module(late)
    assert met == [late]


def test_a_package_that_is_too_old_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"envpool": "1.1.1", "numpy": "1.26.4"}.__getitem__)
    with needs("envpool", numpy="1.2"):
        pass
    message = r"envpool 1\.1\.1 is too old, 1\.2 works: pip .*'envpool-wrapper\[envpool\]'"
    with pytest.raises(ImportError, match=message), needs("envpool", envpool="1.2"):
        raise AssertionError("reached")


def test_an_error_inside_of_a_package_is_told_as_one_of_ours() -> None:
    with pytest.raises(ImportError, match=r"^broken$"), needs("envpool"):
        raise ImportError("broken")


@pytest.mark.parametrize(("module", "package"), [("envpool", "envpool"), ("torchrl", "torch")])
def test_a_missing_package_is_told_without_the_extra_that_has_it(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"envpool_wrap.integrations.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delitem(sys.modules, "envpool_wrap.integrations.tensors", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package} is not installed: .* 'envpool-wrapper\[{module}\]'"):
        importlib.import_module(name)


POOL = """
import sys
import numpy
pool = envpool_wrap.from_env_fns([lambda: gymnasium.make("CartPole-v1")])
assert not {"envpool", "gym", "torch", "torchrl"} & set(sys.modules)
pool.close()
"""


def test_a_pool_imports_what_it_does_not_need(tmp_path: Path) -> None:
    code = "import gymnasium, envpool_wrap\n" + POOL
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
