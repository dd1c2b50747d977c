"""What crosses between processes beside the arrays: options and functions in, exceptions and infos out.

A failure is a tuple (hook, elapsed_step, action, exception, traceback); its exception is sent only if it can
be made again on the other side, and its traceback as text, since frames cannot travel.
"""

from __future__ import annotations

import pickle
import traceback
from typing import Any


def dumps(letter: Any) -> bytes:
    """Pickle a letter. Failures always can be; anything else raises TypeError when it cannot."""
    if isinstance(letter, tuple):
        return _pickled(_portable(letter))
    try:
        return _pickled(letter)
    except Exception as error:
        raise TypeError(f"{letter!r} cannot be sent to another process: {error}") from error


def loads(data: bytes) -> Any:
    """The letter that `dumps` was given."""
    return pickle.loads(data)


def _portable(failure: tuple[Any, ...]) -> tuple[Any, ...]:
    hook, elapsed_step, action, exception, text = failure
    text = text or "".join(traceback.format_exception(exception))
    return hook, elapsed_step, action, _travelling(exception), text


def _travelling(exception: BaseException) -> BaseException:
    """The exception without its frames, or a stand-in that says what it was."""
    try:
        bare = pickle.loads(pickle.dumps(exception))
        if isinstance(bare, BaseException):
            return exception
    except Exception:  # whatever a foreign __reduce__ or __init__ raises
        pass
    return RuntimeError(f"{type(exception).__name__}: {_text(exception)} (the exception cannot be pickled)")


def _text(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception:
        return repr(exception.args)


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # lambdas, classes of __main__
        import cloudpickle

        data: bytes = cloudpickle.dumps(value)
        return data
