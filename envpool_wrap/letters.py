"""What crosses between processes beside the arrays: options and functions in, exceptions and infos out.

A failure is a tuple (hook, elapsed_step, action, exception, traceback). Its traceback crosses as text, since
frames cannot, and its exception in a parcel of its own: where that cannot be made or opened, a stand-in says
what it was.
"""

from __future__ import annotations

import contextlib
import pickle
import traceback
from typing import Any

from envpool_protocol.errors import text_of


def dumps(letter: Any) -> bytes:
    """Pickle a letter. Failures always can be; anything else raises TypeError when it cannot."""
    if isinstance(letter, tuple):
        return _pickled(_packed(letter))
    try:
        return _pickled(letter)
    except Exception as error:
        place, value = _stowaway(letter)
        what = f"{place}{value!r:.200} of type {type(value).__name__}"
        raise TypeError(f"{what} cannot be sent to another process: {error}") from error


def _stowaway(letter: Any, place: str = "") -> tuple[str, Any]:
    """The part of a letter that cannot be pickled, and its keys where it is in a dict."""
    for key, value in letter.items() if isinstance(letter, dict) else ():
        try:
            _pickled(value)
        except Exception:  # whatever a foreign __reduce__ raises
            return _stowaway(value, f"{place.removesuffix(' = ')}[{key!r}] = ")
    return place, letter


def loads(data: bytes) -> Any:
    """The letter that `dumps` was given. Raises what unpickling it raises, but for failures."""
    letter = pickle.loads(data)
    return _unpacked(letter) if isinstance(letter, tuple) else letter


def _packed(failure: tuple[Any, ...]) -> tuple[Any, ...]:
    hook, elapsed_step, action, exception, text = failure
    text = text or "".join(traceback.format_exception(exception))
    try:
        pickle.loads(_pickled(action))
    except Exception:  # the env put something of its own into it
        action = repr(action)
    parcel = b""
    with contextlib.suppress(Exception):  # whatever a foreign __reduce__ raises
        parcel = _pickled(exception)
    return hook, elapsed_step, action, parcel, f"{type(exception).__name__}: {text_of(exception)}", text


def _unpacked(packed: tuple[Any, ...]) -> tuple[Any, ...]:
    hook, elapsed_step, action, parcel, said, text = packed
    with contextlib.suppress(Exception):  # whatever a foreign __init__ or import raises
        exception = pickle.loads(parcel)
        if isinstance(exception, BaseException):
            return hook, elapsed_step, action, exception, text
    stand_in = RuntimeError(f"{said} (the exception cannot be pickled)")
    return hook, elapsed_step, action, stand_in, text


def _pickled(value: Any) -> bytes:
    with contextlib.suppress(Exception):  # lambdas, and whatever a foreign __reduce__ raises
        data: bytes = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        if b"__main__" not in data:  # the receiver has another one
            return data
    from envpool_wrap import by_value

    return by_value.dumps(value)
