"""What arrays a space promises for all envs at once, and whether those at hand are these.

Shapes and dtypes are the array object's own, so that no check waits for a device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from envpool_protocol.errors import ActionError, EnvPoolError, SpecError
from envpool_protocol.spaces import space_spec
from envpool_protocol.spec import Leaf
from envpool_wrap.batched.arrays import dtype_name
from envpool_wrap.nested import builder, flattener

_INTS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_FLOATS = ("float16", "bfloat16", "float32", "float64")


class Expected:
    """One array: shape (num_envs, ...) and the dtypes that will do."""

    def __init__(self, name: str, shape: tuple[int, ...], dtypes: Sequence[str], described: str) -> None:
        self.name, self._shape, self._dtypes, self._described = name, shape, dtypes, described
        self._known: set[Any] = set()  # dtypes that were looked at: their names take longer

    def check(self, array: Any, error: type[EnvPoolError]) -> None:
        """Raise `error` unless `array` is as expected."""
        if array.shape == self._shape and array.dtype in self._known:
            return
        found = dtype_name(array.dtype)
        if tuple(array.shape) != self._shape or found not in self._dtypes:
            raise error(
                f"{self.name}: expected {self._described} of shape {self._shape}, "
                f"found {found} of shape {tuple(array.shape)}"
            )
        self._known.add(array.dtype)


class Layout:
    """The arrays of a space, nested as it is.

    Attributes:
        spec: leaves and tree.
        build: the nested value from a list of leaves.
    """

    def __init__(self, space: Any, root: str, num_envs: int, exact: bool) -> None:
        """Read a single-env space.

        Args:
            space: of one env.
            root: `obs` or `action`.
            num_envs: rows of each array.
            exact: whether a Box means its very dtype, or any of that kind.

        Raises:
            SpecError: a space that no array holds.
        """
        self.spec, self._error = space_spec(space, root), ActionError if root == "action" else SpecError
        self._expected = [_expected(leaf, num_envs, exact) for leaf in self.spec.leaves]
        self._flatten = flattener(self.spec)
        self.build = builder(self.spec)

    def leaves(self, value: Any) -> Iterable[tuple[Expected, Any]]:
        """Each leaf of `value` with what is expected of it, unchecked.

        Raises:
            EnvPoolError: SpecError for observations, ActionError for actions: not nested as the space is.
        """
        try:
            return zip(self._expected, self._flatten(value), strict=True)
        except ActionError as reason:
            raise self._error(str(reason)) from None


def columns(num_envs: int) -> tuple[Expected, Expected, Expected]:
    """What is expected of reward, terminated and truncated."""
    flag = (num_envs,), ("bool",), "bool"
    return (
        Expected("reward", (num_envs,), (*_FLOATS, *_INTS), "numbers"),
        Expected("terminated", *flag),
        Expected("truncated", *flag),
    )


def mask_of(num_envs: int) -> Expected:
    """What is expected of a reset_mask."""
    return Expected("reset_mask", (num_envs,), ("bool",), "bool")


def _expected(leaf: Leaf, num_envs: int, exact: bool) -> Expected:
    if leaf.kind == "text":
        raise SpecError(f"{leaf.name}: no array on a device holds Text; leave it out, or encode it in a Box")
    dtypes, described = _dtypes(leaf, exact)
    return Expected(leaf.name, (num_envs, *leaf.shape), dtypes, described)


def _dtypes(leaf: Leaf, exact: bool) -> tuple[Sequence[str], str]:
    is_box = leaf.low is None
    if (is_box and exact) or leaf.dtype.name == "bool":
        return [leaf.dtype.name], leaf.dtype.name
    if leaf.dtype.numpy.kind == "f":
        return _FLOATS, "floats"
    # JAX counts with 32 bits unless told otherwise, and of torch's unsigned ints only uint8 computes.
    return (_INTS, "ints") if is_box or leaf.kind == "discrete" else ((*_INTS, "bool"), "ints")
