"""Tell the user, once, that values change their dtype on the way into a leaf."""

from __future__ import annotations

from envpool_protocol.notices import notice

_told: set[tuple[str, str, str]] = set()


def warn_once(leaf: str, found: str, wanted: str) -> None:
    """Warn that `leaf` is cast from dtype `found` to `wanted`; later calls with the same words are silent."""
    if (leaf, found, wanted) in _told:
        return
    _told.add((leaf, found, wanted))
    notice(
        f"{leaf}: an env returned dtype {found} for a leaf of dtype {wanted}; it is cast on every step. "
        "Return the declared dtype to save the cast."
    )
