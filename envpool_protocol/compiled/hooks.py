"""The compiled hooks of a source: what a build needs of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from envpool_protocol.compiled import digest
from envpool_protocol.compiled.proposal import proposal
from envpool_protocol.compiled.state import DECLARATION, declares, state_dtype
from envpool_protocol.errors import ProtocolError

if TYPE_CHECKING:
    from envpool_protocol.sources import Description, Source

OBJECT = "hooks.o"
NUMBA = "0.68."  # as in pyproject.toml


@dataclass(frozen=True)
class CompiledHooks:
    """The hooks of an env as an object file, made when it is asked for."""

    source: Source
    description: Description

    @cached_property
    def digest(self) -> str:
        """A hash of all that the object file depends on; Numba is not imported."""
        return digest.digest(self.source.target)

    def object_code(self) -> bytes:
        """The object file.

        Raises:
            ImportError: there is no Numba.
            BuildError: a hook does not compile.
        """
        try:
            _check_numba()
            from envpool_protocol.compiled.kernel import object_code
        except ImportError as error:
            raise ImportError(
                f"compiling hooks needs Numba ({error}): pip install 'envpool-wrapper[compiled]'. What was "
                "compiled elsewhere, as with build_wheel, runs without it"
            ) from error
        instance = self.source.make(0)
        try:
            return object_code(self.source.target, self.description, instance)
        finally:
            with contextlib.suppress(Exception):
                instance._close_envpool()


def _check_numba() -> None:
    """Raise ImportError for a Numba whose inner interfaces, which we extend, may be others."""
    import numba

    if not numba.__version__.startswith(NUMBA):
        raise ImportError(f"found Numba {numba.__version__}, expected {NUMBA}*")


def hooks_of(source: Source, description: Description) -> CompiledHooks | None:
    """The compiled hooks of a source that has been registered with `compiled=True`, else None."""
    return None if description.compiled is None else CompiledHooks(source, description)


def compiled_facts(source: Source) -> dict[str, Any]:
    """What a description says of compiled hooks.

    Raises:
        ProtocolError: the class declares no state; a declaration is proposed.
        SpecError: a field of its declaration is not supported.
    """
    cls = source.target
    if not declares(cls):
        raise ProtocolError(_what_to_add(source))
    dtype = state_dtype(cls)
    return {
        "state_bytes": dtype.itemsize,
        "fields": list(dtype.names or ()),
        "code": digest.code_digest(cls),
    }


def _what_to_add(source: Source) -> str:
    env = source.make(0)
    try:
        fault = ""
        try:
            env._reset_envpool()  # which may set what __init__ does not
        except Exception as error:
            fault = f"\nWhat _reset_envpool sets is not in it: it raised {type(error).__name__}: {error}\n"
        return (
            f"{source.label} declares no state, so its hooks cannot be compiled. Add {DECLARATION} to the "
            f"class: a dtype for each attribute that its hooks use. From an instance:\n\n{proposal(env)}\n"
            f"{fault}"
        )
    finally:
        with contextlib.suppress(Exception):
            env._close_envpool()
