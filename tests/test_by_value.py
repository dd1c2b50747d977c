"""What travels by value still knows the file that it was written in."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import pytest

from envpool_wrap import by_value


def arrived(value: Any) -> Any:
    return pickle.loads(by_value.dumps(value))


def test_a_function_loses_the_file_and_the_lines_of_its_tracebacks() -> None:
    amount = 7

    def outer(x: int) -> int:
        def inner() -> int:
            return amount // x

        return inner()

    there = arrived(outer)
    assert there is not outer and there(2) == 3
    with pytest.raises(ZeroDivisionError) as caught:
        there(0)
    frames = traceback.extract_tb(caught.tb)[1:]
    assert [(frame.filename, frame.line) for frame in frames] == [
        (__file__, "return inner()"),
        (__file__, "return amount // x"),
    ]
