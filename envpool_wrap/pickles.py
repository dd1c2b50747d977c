"""Pickles for another process, by value where no import there would find a thing.

A function that travels by value keeps the name of its file, so that a traceback there shows its lines.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from types import CodeType
from typing import Any

import cloudpickle


def dumps(value: Any) -> bytes:
    """Pickle `value`. Raises whatever a part of it that cannot be pickled raises."""
    file = io.BytesIO()
    _Pickler(file).dump(value)
    return file.getvalue()


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # it has no types
    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, CodeType):
            return super().reducer_override(value)
        make, parts = self.dispatch_table[CodeType](value)
        return _code_in, (value.co_filename, make, parts)


def _code_in(file: str, make: Callable[..., CodeType], parts: tuple[Any, ...]) -> CodeType:
    return make(*parts).replace(co_filename=file)
