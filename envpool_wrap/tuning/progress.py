"""A progress bar on a terminal, where rich is installed; elsewhere nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Advance = Callable[[str, float], None]  # what is being done, and the share of all that is done: 0 to 1


def part(advance: Advance, start: float, span: float) -> Advance:
    """`advance` for a part of the work: its own 0 to 1 is `span` of the whole, from `start` on."""
    return lambda what, share: advance(what, start + share * span)


@contextlib.contextmanager
def progress_bar() -> Iterator[Advance]:
    """`advance(what, share)`, to be called from time to time."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield lambda what, share: None
        return
    columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
