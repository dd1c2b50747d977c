"""What was written to a terminal or a pipe, read by a test."""

from __future__ import annotations

import contextlib
import os


def everything(reader: int) -> str:
    """All that was written until the other end closed, however many pieces it arrives in; closes `reader`."""
    said = bytearray()
    # A terminal whose other end is closed says EIO.
    with os.fdopen(reader, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while piece := screen.read(65536):
            said += piece
    return said.decode()
