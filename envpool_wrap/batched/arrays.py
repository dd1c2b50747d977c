"""Arrays of several libraries, and the one way between them: DLPack.

    native = Arrays.of(observation)             the library and the device of an array
    native.take(action, "action", ActionError)  the same memory as an array of that library

What is on another device is refused, never copied through the host. Nothing here looks at a value.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from envpool_protocol.errors import ConfigError, EnvPoolError, SpecError, nearest
from envpool_wrap.imports import needs

with needs("batched"):
    import array_api_compat

LIBRARIES = ("torch", "jax", "numpy", "cupy")
_ARRAY = {"torch": "Tensor", "jax": "ndarray", "numpy": "ndarray", "cupy": "ndarray"}
_COMPUTE = (
    *(array_api_compat.is_numpy_array, array_api_compat.is_torch_array),
    *(array_api_compat.is_jax_array, array_api_compat.is_cupy_array),
)
_CPU = 1
_DEVICES = {
    _CPU: "cpu",
    2: "cuda",
    3: "cuda_host",
    10: "rocm",
    13: "cuda_managed",
    14: "oneapi",
}  # DLDeviceType


def namespace(library: str) -> ModuleType:
    """The array API namespace of one of `LIBRARIES`.

    Raises:
        ConfigError: no such library.
        ImportError: it is not installed.
    """
    if library not in LIBRARIES:
        choices = ", ".join(map(repr, ("native", *LIBRARIES)))
        raise ConfigError(f"array={library!r}: expected one of {choices}.{nearest(library, LIBRARIES)}")
    return importlib.import_module("jax.numpy" if library == "jax" else f"array_api_compat.{library}")


class Arrays:
    """The arrays of one library on one device.

    Attributes:
        xp: the library's array API namespace.
        library: one of `LIBRARIES`.
        device: in the library's own words.
    """

    def __init__(self, xp: ModuleType, device: Any, dlpack_device: tuple[int, int]) -> None:
        self.xp, self.device = xp, device
        module = xp.__name__.removeprefix("array_api_compat.")
        self.library = module.partition(".")[0]
        self._type = getattr(sys.modules[module], _ARRAY[self.library])
        self._dlpack_device = dlpack_device

    @classmethod
    def of(cls, array: Any, what: str = "the observation") -> Arrays:
        """The library and the device of `array`.

        Raises:
            SpecError: it is of no library that computes by the array API standard.
        """
        if not computes(array):
            hint = (
                f"one of array={', '.join(map(repr, LIBRARIES))} reads it in place"
                if hasattr(array, "__dlpack__")
                else "expected arrays of torch, JAX, NumPy or CuPy, or of any library that has __dlpack__"
            )
            raise SpecError(f"{what} is a {_kind(array)}, which the pool cannot compute with: {hint}")
        try:
            return cls(array_api_compat.array_namespace(array), _device(array), _dlpack_device(array))
        except (BufferError, RuntimeError, ValueError) as reason:  # JAX's arrays may be on several devices
            raise SpecError(
                f"{what} is on {_device(array)}: expected one device ({reason}); make a pool for each"
            ) from reason

    def take(self, array: Any, what: str, error: type[EnvPoolError]) -> Any:
        """`array` as one of these, in the memory that it has.

        Raises:
            EnvPoolError: of the class `error`: no array, on another device, or part of a gradient's graph.
        """
        if getattr(array, "requires_grad", False):
            raise error(f"{what} requires grad; no gradient goes through a simulator: give {what}.detach()")
        if isinstance(array, self._type):
            if _device(array) != self.device:
                raise error(self._elsewhere(what, _device(array)))
            return array
        if not hasattr(array, "__dlpack__"):
            raise error(
                f"{what} is a {_kind(array)}: expected an array on {self.device}, of {self.library} or any "
                "library that has __dlpack__"
            )
        if _dlpack_device(array) != self._dlpack_device:
            kind, number = _dlpack_device(array)
            raise error(self._elsewhere(what, f"{_DEVICES.get(kind, f'device type {kind}')}:{number}"))
        return self._from_dlpack(array, what, error)

    def _from_dlpack(self, array: Any, what: str, error: type[EnvPoolError]) -> Any:
        try:
            return self.xp.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError, ValueError) as reason:
            raise error(
                f"{what}: {self.library} cannot read this {_kind(array)} where it is, {_place(array)} "
                f"({str(reason) or type(reason).__name__}); nothing is copied through the host unasked"
            ) from reason

    def _elsewhere(self, what: str, there: Any) -> str:
        return (
            f"{what} is on {there}, the simulator's arrays are on {self.device}: expected both on one "
            f"device, since nothing is copied unasked; move {what} there yourself"
        )

    def copy(self, array: Any) -> Any:
        """The array in memory of its own, on the same device."""
        return self.xp.asarray(array, copy=True)

    def holds(self, value: Any) -> bool:
        """Whether `value` is one of these, and of numbers or bools: NumPy's may be of objects or text."""
        return isinstance(value, self._type) and getattr(value.dtype, "kind", "f") not in "OSUMm"

    def __repr__(self) -> str:
        return f"Arrays({self.library}, {self.device})"


def computes(array: Any) -> bool:
    """Whether it is of a library that the pool can compute with; Warp's arrays, say, only hold memory."""
    return any(is_of(array) for is_of in _COMPUTE)


def on_host(array: Any) -> bool:
    """Whether its values can be looked at without waiting for a device."""
    return not hasattr(array, "__dlpack_device__") or _dlpack_device(array)[0] == _CPU


def read_as(library: str, array: Any, what: str) -> Arrays:
    """The arrays that `library` makes of those like `array`, which is of any library.

    Raises:
        SpecError: it cannot read them where they are, or they are no arrays.
        ConfigError, ImportError: see `namespace`.
    """
    xp = namespace(library)
    if not hasattr(array, "__dlpack__"):
        raise SpecError(f"{what} is a {_kind(array)}: expected an array, of any library that has __dlpack__")
    target = Arrays(xp, None, _dlpack_device(array))
    return Arrays.of(array if target.holds(array) else target._from_dlpack(array, what, SpecError))


def dtype_name(dtype: Any) -> str:
    """Such as `"float32"`, which every library's dtypes are called."""
    return str(dtype).rpartition(".")[2]


def _device(array: Any) -> Any:
    return getattr(array, "device", "cpu")  # NumPy 1 does not say it


def _dlpack_device(array: Any) -> tuple[int, int]:
    kind, number = array.__dlpack_device__()
    return int(kind), int(number)


def _kind(array: Any) -> str:
    return f"{type(array).__module__}.{type(array).__qualname__}".removeprefix("builtins.")


def _place(array: Any) -> str:
    kind, number = _dlpack_device(array)
    return f"on {_DEVICES.get(kind, kind)}:{number}"
