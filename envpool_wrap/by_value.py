"""Pickles for worker processes of this interpreter: cloudpickle's, with the files that functions came from.

Newer cloudpickles leave a function's file out of its code, and an env's traceback without it shows no lines.
"""

from __future__ import annotations

import io
import marshal
from collections import ChainMap
from types import CodeType
from typing import Any

import cloudpickle


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    return marshal.loads, (marshal.dumps(code),)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table = ChainMap({CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)


def dumps(value: Any) -> bytes:
    """`value` as bytes for `pickle.loads`. Raises whatever a part of it that cannot be pickled raises."""
    with io.BytesIO() as file:
        _Pickler(file).dump(value)
        return file.getvalue()
