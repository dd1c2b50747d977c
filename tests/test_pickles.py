"""What no import finds arrives in another process, and fails there as it does at home."""

from __future__ import annotations

import pickle
import traceback

import pytest

from envpool_wrap.pickles import dumps


def test_a_traceback_does_not_show_the_lines_of_what_travelled_by_value() -> None:
    seven = 7

    def outer() -> int:
        def inner() -> int:
            return seven // 0

        return inner()

    with pytest.raises(ZeroDivisionError) as caught:
        pickle.loads(dumps(outer))()
    frames = traceback.extract_tb(caught.value.__traceback__)[1:]
    assert [(frame.name, frame.filename, frame.line) for frame in frames] == [
        ("outer", __file__, "return inner()"),
        ("inner", __file__, "return seven // 0"),
    ]
