"""Text in columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """The lines below their header: columns of numbers to the right, all others to the left."""
    cells = [list(header), *(list(line) for line in lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [
        all(row[column][:1].isdigit() or not row[column] for row in cells[1:])
        for column in range(len(header))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )
