"""Templates and headers are found in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpool_protocol import generator, resources, wheels


def test_every_template_of_the_generator_is_packaged() -> None:
    folder = resources.templates()
    names = [*generator.TEMPLATES, *(f"wheel/{name}" for name in wheels.TEMPLATES)]
    assert {f"{name}.jinja" for name in names} == {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }


def included(name: str, seen: set[str]) -> set[str]:
    """The core headers that `name` includes, itself among them."""
    if name not in seen:
        seen.add(name)
        text = (resources.include_dir() / name).read_text("utf-8")
        for line in text.splitlines():
            if line.startswith('#include "cpp_core/'):
                included(line.split('"')[1], seen)
    return seen


def test_headers_are_just_those_a_generated_module_includes() -> None:
    """One that is missing here would not be in the key: a stale module would be used after it changed."""
    needed: set[str] = set()
    for template in resources.templates().rglob("*.jinja"):
        for line in template.read_text("utf-8").splitlines():
            if line.startswith('#include "cpp_core/'):
                included(line.split('"')[1], needed)
    assert needed == {f"cpp_core/{header.name}" for header in resources.headers()}


@pytest.mark.parametrize("inside", [True, False], ids=["wheel", "checkout"])
def test_data_is_found_inside_the_package_first_and_else_beside_it(
    inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "envpool_protocol"
    (tmp_path / "site" / "cpp_templates").mkdir(parents=True)
    wanted = package / "cpp_templates" if inside else tmp_path / "site" / "cpp_templates"
    wanted.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resources.templates() == wanted


def test_incomplete_installation_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "site" / "envpool_protocol")
    with pytest.raises(FileNotFoundError, match=r"cpp_core/ is neither in .* install it again"):
        resources.include_dir()
