"""The bar: on a terminal where rich is there, and nothing anywhere else."""

from __future__ import annotations

import os
import pty
import sys

import pytest
from terminal import everything

from envpool_wrap.tuning.progress import part, progress_bar


def shown(monkeypatch: pytest.MonkeyPatch) -> str:
    """What half of some work shows on a terminal's stderr."""
    reader, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress_bar() as advance:
            advance("half of it", 0.5)
        monkeypatch.undo()
    return everything(reader)


def test_a_terminal_shows_what_is_done_and_is_left_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    said = shown(monkeypatch)
    assert "half of it" in said and "\x1b[2K" in said  # the line is wiped at the end


def test_without_rich_a_terminal_stays_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert shown(monkeypatch) == ""


def test_without_a_terminal_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as advance:
        advance("half of it", 0.5)
    assert capfd.readouterr() == ("", "")


def test_a_part_fills_its_share_of_the_whole() -> None:
    told: list[tuple[str, float]] = []
    one = part(lambda what, share: told.append((what, share)), 0.25, 0.5)
    one("a", 0.0)
    one("b", 1.0)
    assert told == [("a", 0.25), ("b", 0.75)]
