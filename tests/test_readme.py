"""Every code block of README.md and docs/ works.

The Python blocks of a document are one script, in which each line keeps its number. A block below
`<!-- file: name.py -->` is a file of its own and is run before that script; one below
`<!-- skip: reason -->` is not run. A document that says `<!-- needs: module, module -->` is run by
`make test-all`, where these are installed. Of shell blocks, lines that call `envpool-wrap` are run after
that, in the same folder, and of the others the words are checked: make's targets and pip's extras.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from newcomer import Newcomer

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>\w+): *(?P<told>[^\n]*?) *-->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.M | re.S,
)

NEEDS = re.compile(r"^<!-- needs: *(?P<modules>.*?) *-->$", re.M)


def name_of(path: Path) -> str:
    """Such as `docs/faces/gym.md`: several folders have a page of the same name."""
    return path.relative_to(ROOT).as_posix()


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


def needs(document: str) -> list[str]:
    """The modules that a document's Python blocks need beyond our own dependencies."""
    return [module.strip() for told in NEEDS.findall(document) for module in told.split(",")]


every_runnable_document = pytest.mark.parametrize(
    "document",
    [
        pytest.param(
            path, marks=[pytest.mark.integration] * bool(needs(path.read_text("utf-8"))), id=name_of(path)
        )
        for path in DOCUMENTS
    ],
)


@dataclass(frozen=True)
class Block:
    """A block of code; `line` is the number of the line above its first."""

    language: str
    text: str
    line: int
    mark: str
    told: str


def blocks(document: str, language: str) -> list[Block]:
    """The blocks of a language, in order."""
    return [
        Block(
            m["language"],
            m["text"],
            document.count("\n", 0, m.start("text")),
            m["mark"] or "",
            m["told"] or "",
        )
        for m in BLOCK.finditer(document)
        if m["language"] == language
    ]


def script(document: str) -> str:
    """The unmarked Python blocks, each line with the number that it has in the document."""
    lines: list[str] = []
    for block in blocks(document, "python"):
        if not block.mark:
            lines += [""] * (block.line - len(lines)) + block.text.splitlines()
    return "\n".join(lines) + "\n"


def run(document: str, name: str, user: Newcomer) -> None:
    """Run a document's Python blocks, then its commands, in the newcomer's folder."""
    files = [block for block in blocks(document, "python") if block.mark == "file"]
    for block in files:
        (user.folder / block.told).write_text(block.text, "utf-8")
    (user.folder / name).write_text(script(document), "utf-8")
    for file in (*(block.told for block in files), name):
        done = user.attempt(file)
        assert done.returncode == 0, done.stderr
    for words in commands(document):
        done = user.attempt("-c", "from envpool_wrap.cli import main; main()", *words)
        assert done.returncode == 0, f"{words}: {done.stderr}"


def commands(document: str) -> Iterator[list[str]]:
    """The arguments of each `envpool-wrap` in unmarked shell blocks."""
    for block in blocks(document, "sh"):
        for line in block.text.splitlines():
            program, *words = shlex.split(line, comments=True) or [""]
            if program == "envpool-wrap" and not block.mark:
                yield words


def unknown_words(document: str) -> Iterator[str]:
    """make's targets and pip's extras that shell blocks name and the project does not have."""
    makefile, pyproject = ((ROOT / name).read_text("utf-8") for name in ("Makefile", "pyproject.toml"))
    targets = {word for line in re.findall(r"^([\w -]+):(?!=)", makefile, re.M) for word in line.split()}
    extras = set(tomllib.loads(pyproject)["project"]["optional-dependencies"])
    for block in blocks(document, "sh"):
        for line in block.text.splitlines():
            command = line.partition("#")[0]
            for words in re.findall(r"\bmake\b([^|&;]*)", command):
                asked = [word for word in words.split() if not word.startswith("-") and "=" not in word]
                yield from (f"make {word}" for word in asked if word not in targets)
            if "pip install" in command:
                named = {
                    extra.strip() for group in re.findall(r"\[(.*?)\]", command) for extra in group.split(",")
                }
                yield from (f"the extra {extra}" for extra in sorted(named - extras))


@every_runnable_document
def test_python_blocks_and_commands_run_in_order(document: Path, user: Newcomer) -> None:
    text = document.read_text("utf-8")
    for module in needs(text):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    run(text, f"{document.stem}_md.py", user)  # `gymnasium.py` would hide gymnasium


@every_document
def test_shell_blocks_name_only_targets_and_extras_that_exist(document: Path) -> None:
    assert list(unknown_words(document.read_text("utf-8"))) == []


@every_document
def test_marks_are_known_and_a_skipped_block_says_why(document: Path) -> None:
    text = document.read_text("utf-8")
    marked = [block for language in ("python", "sh") for block in blocks(text, language) if block.mark]
    assert all(block.mark in ("file", "skip") and block.told for block in marked)


@every_document
def test_every_fence_is_read_as_a_block(document: Path) -> None:
    """A block that the pattern misses would never be run."""
    text = document.read_text("utf-8")
    assert len(re.findall(r"^ *(?:```|~~~)", text, re.M)) == 2 * len(BLOCK.findall(text))


# The reader itself, on a document made for it


TEXT = """# Title
<!-- file: helper.py -->
```python
NAME = "helper"
```
words
```python
import helper
name = helper.NAME
```
<!-- skip: needs a robot -->
```python
raise SystemExit("robot")
```
```sh
make demo PYTHON=python3.12 && make -j4 test-all  # make coffee
pip install '.[gym, dev]'
envpool-wrap generate 'helper.py:NAME' --json  # a comment
```
<!-- skip: needs a robot -->
```sh
envpool-wrap dance
```
```python
assert name == "helper"
```
"""


def test_blocks_share_names_and_files_and_skipped_ones_are_not_run(user: Newcomer) -> None:
    run(TEXT.replace("generate 'helper.py:NAME'", "list"), "document.py", user)
    assert (user.folder / "helper.py").read_text() == 'NAME = "helper"\n'


def test_failing_block_fails_with_its_line_in_the_document(user: Newcomer) -> None:
    with pytest.raises(AssertionError, match=r'document\.py", line 25, in <module>'):
        run(TEXT.replace('== "helper"', '== "other"'), "document.py", user)


def test_needs_of_a_document_are_missed() -> None:
    assert needs(TEXT) == []
    assert needs(f"# Title\n\n<!-- needs: torch, sb3 -->\n<!-- needs: gym -->\n{TEXT}") == [
        "torch",
        "sb3",
        "gym",
    ]


def test_failing_command_fails_and_skipped_ones_are_not_run(user: Newcomer) -> None:
    assert list(commands(TEXT)) == [["generate", "helper.py:NAME", "--json"]]
    with pytest.raises(
        AssertionError, match=r"'helper\.py:NAME', '--json'\]: error: no env is called 'helper'"
    ):
        run(TEXT, "document.py", user)


def test_failing_file_fails(user: Newcomer) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run(TEXT.replace('NAME = "helper"', "1 / 0"), "document.py", user)


def test_wrong_target_and_wrong_extra_are_found() -> None:
    assert list(unknown_words(TEXT)) == []
    changed = TEXT.replace("test-all", "tset").replace("gym,", "gim,")
    assert list(unknown_words(changed)) == ["make tset", "the extra gim"]
