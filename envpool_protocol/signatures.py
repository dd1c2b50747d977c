"""What a callable may be called with, as far as that can be known: many that are written in C do not say."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """The signature, or None where it cannot be read."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def takes(function: Callable[..., Any], parameter: str) -> bool:
    """Whether there is a keyword argument of that name; False where nothing is known."""
    signature = signature_of(function)
    parameters = signature.parameters if signature else {}
    return parameter in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
