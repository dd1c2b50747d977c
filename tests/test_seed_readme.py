"""The two files that the first envpool_wrapper's README prints run exactly as printed."""

from __future__ import annotations

import importlib.util

import pytest
from newcomer import Newcomer
from seed_documents import document, fenced


@pytest.fixture
def blocks() -> list[str]:
    """The Python blocks of the document, which is not part of this project."""
    found = fenced(document("002"))
    if importlib.util.find_spec("gym") is None:
        pytest.skip("old gym is not installed")
    return found


def test_both_files_run_as_printed(blocks: list[str], user: Newcomer) -> None:
    first, second = blocks
    for name, text in (("first.py", first), ("second.py", second)):
        (user.folder / name).write_text(text, "utf-8")
    described = user.attempt("first.py")
    assert described.returncode == 0, described.stderr
    used = user.attempt("second.py")
    assert used.returncode == 0, used.stderr
    said = used.stdout.splitlines()
    assert said[0] == "['MyEnv_wrap']"
    events = [line.split(":")[0].split("act")[0] for line in said[1:]]
    assert events == ["sending obs", "got ", "sending obs"], "one reset, then one step"
    assert "got act  [1.]" in said, "the float64 action of shape (1, 1) reaches the env as its own row"
