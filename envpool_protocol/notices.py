"""Which lines are the user's; warnings that name the one that led to them."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from types import FrameType, TracebackType

_OURS = tuple(
    f"{Path(__file__).parents[1] / package}{os.sep}" for package in ("envpool_protocol", "envpool_wrap")
)


def notice(message: str) -> None:
    """A UserWarning at the innermost line outside of this project; at `sys:1` where a worker has none."""
    level, frame = 2, sys._getframe().f_back
    while frame is not None and is_ours(frame):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def is_ours(frame: FrameType) -> bool:
    """Whether the code of this frame is this project's."""
    return frame.f_code.co_filename.startswith(_OURS)


def outside(traceback: TracebackType | None) -> TracebackType | None:
    """What follows this project's last frame of a traceback; None where that is the last of all."""
    rest = traceback
    while traceback is not None:
        if is_ours(traceback.tb_frame):
            rest = traceback.tb_next
        traceback = traceback.tb_next
    return rest
