"""docs/house.md names every source file once, and a file knows those of its row and of rows beneath."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# One row of these tables, below a heading that names the folder.
ROW = re.compile(r"^\| [^|]+ \| ((?:`[\w/]+\.\w+` ?)+) \|$", re.M)
INCLUDE = re.compile(r'^#include "(cpp_core/\w+\.h)"$', re.M)


def layers(page: str) -> dict[str, dict[str, int]]:
    """By folder: each file of its table, and the row that it is in, from the top."""
    found: dict[str, dict[str, int]] = {}
    _, *sections = re.split(r"^## `(\w+)/`", page, flags=re.M)
    for folder, table in zip(sections[::2], sections[1::2], strict=True):
        rows = [re.findall(r"`([\w/.]+)`", row) for row in ROW.findall(table)]
        names = [name for row in rows for name in row]
        assert len(names) == len(set(names)), "a file is there twice"
        found[folder] = {name: number for number, row in enumerate(rows) for name in row}
    return found


LAYERS = layers((ROOT / "docs" / "house.md").read_text("utf-8"))
every_folder = pytest.mark.parametrize("folder", LAYERS)


def sources(folder: str) -> set[str]:
    """The files of a folder that have something to say beyond what their folder is."""
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".h", ".cc")]
    return {
        path.relative_to(ROOT / folder).as_posix()
        for path in files
        if path.name != "__init__.py" or path.parent == ROOT / folder
    }


def known(folder: str, name: str) -> Iterator[str]:
    """The files of the same folder that a file includes, or imports where it begins."""
    text = (ROOT / folder / name).read_text("utf-8")
    if not name.endswith(".py"):
        yield from (header.removeprefix(f"{folder}/") for header in INCLUDE.findall(text))
        return
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == folder:
            module = str(node.module)
            yield from (
                f"{inner.replace('.', '/')}.py".removeprefix(f"{folder}/")
                for inner in (module, *(f"{module}.{alias.name}" for alias in node.names))
            )


@every_folder
def test_a_file_is_missing_from_the_page_or_gone(folder: str) -> None:
    assert set(LAYERS[folder]) == sources(folder)


@every_folder
def test_a_file_knows_one_of_a_row_above(folder: str) -> None:
    rows = LAYERS[folder]
    upward = [
        f"{name} knows {other}"
        for name in rows
        for other in known(folder, name)
        if rows.get(other, len(rows)) < rows[name]
    ]
    assert upward == []


def test_envpool_protocol_knows_envpool_wrap() -> None:
    for path in (ROOT / "envpool_protocol").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) envpool_wrap", path.read_text("utf-8"), re.M), path


def test_the_reader_of_the_page_misses_rows() -> None:
    page = "## `a/`: x\n\n| what | files |\n|---|---|\n| 1 | `b.py` `c/d.py` |\n| 2 | `e.h` |\n## `f/`: y\n"
    assert layers(page) == {"a": {"b.py": 0, "c/d.py": 0, "e.h": 1}, "f": {}}
