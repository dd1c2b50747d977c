"""One compiled env, driven through its kernel without an engine; and the same env interpreted, beside it."""

from __future__ import annotations

import ctypes
import functools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from envpool_protocol import compiler, resources
from envpool_protocol.compiled.faults import decode
from envpool_protocol.compiled.hooks import CompiledHooks, hooks_of
from envpool_protocol.compiled.state import state_dtype, write_state
from envpool_protocol.info_spec import info_table, masks_of
from envpool_protocol.sources import source_of
from envpool_protocol.spec import SpaceSpec

_GLUE = """
#include "cpp_core/kernel_abi.h"
#include "cpp_core/kernel_runtime.h"
extern "C" {
#define DECLARE(kind) \\
  int32_t envpool_##kind##_seed(unsigned char*, int64_t, void**); \\
  int32_t envpool_##kind##_reset(unsigned char*, unsigned char* const*, void**); \\
  int32_t envpool_##kind##_step(unsigned char*, const unsigned char*, unsigned char* const*, void**);
DECLARE(kernel)
DECLARE(checked)
EnvpoolKernel kernels[2] = {
    {0, envpool_kernel_seed, envpool_kernel_reset, envpool_kernel_step},
    {0, envpool_checked_seed, envpool_checked_reset, envpool_checked_step},
};
int allocations = 0;
void* __real_aligned_alloc(size_t, size_t);
void* __wrap_aligned_alloc(size_t alignment, size_t bytes) {
  ++allocations;
  return __real_aligned_alloc(alignment, bytes);
}
}
"""
HOOKS = ("", "__init__", "_seed_envpool", "_reset_envpool", "_step_envpool", "_make_obs_envpool")
HOOKS += ("_done_envpool", "_truncated_envpool", "_reward_envpool", "_info_envpool")
_P, _PP = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)


class _Kernel(ctypes.Structure):
    _fields_ = (
        ("state_bytes", ctypes.c_uint64),
        ("seed", ctypes.CFUNCTYPE(ctypes.c_int32, _P, ctypes.c_int64, _PP)),
        ("reset", ctypes.CFUNCTYPE(ctypes.c_int32, _P, _PP, _PP)),
        ("step", ctypes.CFUNCTYPE(ctypes.c_int32, _P, _P, _PP, _PP)),
    )


def hooks(cls: type, **kwargs: Any) -> CompiledHooks:
    """What a build would be given of a class."""
    source = source_of(cls, kwargs=kwargs, compiled=True)
    made = hooks_of(source, source.describe())
    assert made is not None
    return made


class Driven:
    """`seed`, `reset` and `step` of one record; an exception of a hook is raised, with `.hook` set."""

    def __init__(self, cls: type, folder: Path, checked: bool = False, poison: bool = False, **kwargs: Any):
        self._hooks = _built(cls, folder, tuple(sorted(kwargs.items())))
        self._kernel = self._hooks[1][checked]
        self.spec = self._hooks[0].description.spec
        self.records = np.zeros(1, state_dtype(cls))
        self.env = cls(0, **kwargs)
        write_state(self.env, self.records[0], poison)
        self.reward = np.full((), 77, self.spec.reward.numpy)
        self.terminated, self.truncated = np.ones((), bool), np.ones((), bool)
        self.obs = [np.full(leaf.shape, 1, leaf.dtype.numpy) for leaf in self.spec.obs.leaves]
        declared = () if self.spec.info is None else (*self.spec.info.leaves, *masks_of(self.spec.info))
        self.info_leaves = [np.full(leaf.shape, 1, leaf.dtype.numpy) for leaf in declared]
        leaves = [self.reward, self.terminated, self.truncated, *self.obs, *self.info_leaves]
        self._leaves = (_P * len(leaves))(*(leaf.ctypes.data for leaf in leaves))
        self._error = _P()

    @property
    def allocations(self) -> int:
        """How often its kernels have asked the system for memory."""
        return ctypes.c_int.in_dll(self._hooks[2], "allocations").value

    @property
    def state(self) -> Any:
        """The record."""
        return self.records[0]

    def seed(self, seed: int) -> None:
        self._done(self._kernel.seed(self.records.ctypes.data, seed, self._error))

    def reset(self) -> Any:
        """The observation."""
        self._done(self._kernel.reset(self.records.ctypes.data, self._leaves, self._error))
        return _tree(self.spec.obs, self.obs)

    def step(self, action: Any) -> tuple[Any, float, bool, bool]:
        """Observation, reward, terminated, truncated; the info is in `info`."""
        raw = self._raw(action)
        self._done(self._kernel.step(self.records.ctypes.data, raw.ctypes.data, self._leaves, self._error))
        obs = _tree(self.spec.obs, self.obs)
        return obs, self.reward.item(), bool(self.terminated), bool(self.truncated)

    @property
    def info(self) -> dict[str, Any]:
        """The declared info of the last step, without what its masks hide."""
        assert self.spec.info is not None
        table, first = info_table(self.spec.info), len(self.spec.info.leaves) - 1

        def read(index: int) -> Any:
            node = table[index]
            if node.leaf >= 0:
                return self.info_leaves[node.leaf].copy()
            found, child = {}, index + 1
            while child < node.end:
                if self.info_leaves[first + child]:
                    found[table[child].key] = read(child)
                child = table[child].end
            return found

        info: dict[str, Any] = read(0)
        return info

    def _raw(self, action: Any) -> Any:
        """The bytes of an action, laid out as layout.h does."""
        raw = b""
        for leaf, value in zip(self.spec.action.leaves, _flat(self.spec.action, action), strict=True):
            one = np.asarray(value, leaf.dtype.numpy).tobytes()
            assert len(one) == leaf.nbytes
            raw += one + bytes(-len(one) % 8)
        return np.frombuffer(bytearray(raw), np.uint8)

    def _done(self, failed: int) -> None:
        if failed:
            assert self._error.value is not None
            error = decode(self._error.value)
            error.hook = HOOKS[failed]  # type: ignore[attr-defined]
            raise error


def _flat(spec: SpaceSpec, value: Any, index: int = 0) -> list[Any]:
    node = spec.nodes[index]
    if node.kind == "leaf":
        return [value]
    return [leaf for child in node.children for leaf in _flat(spec, value[spec.nodes[child].key], child)]


def _tree(spec: SpaceSpec, leaves: list[Any], index: int = 0) -> Any:
    node = spec.nodes[index]
    if node.kind == "leaf":
        return leaves[node.leaf].copy()
    children = {spec.nodes[child].key: _tree(spec, leaves, child) for child in node.children}
    return children if node.kind == "dict" else tuple(children.values())


@functools.cache
def _built(cls: type, folder: Path, kwargs: Any) -> tuple[CompiledHooks, Any, Any]:
    made = hooks(cls, **dict(kwargs))
    glue = _glue(folder)
    code = folder / f"{cls.__name__}-{id(cls)}.o"
    code.write_bytes(made.object_code())
    library = code.with_suffix(".so")
    _compile("-shared", "-Wl,--wrap=aligned_alloc", "-o", library, code, glue, "-lm")
    loaded = ctypes.CDLL(str(library))
    return made, (_Kernel * 2).in_dll(loaded, "kernels"), loaded


@functools.cache
def _glue(folder: Path) -> Path:
    source, made = folder / "glue.cc", folder / "glue.o"
    source.write_text(_GLUE)
    _compile("-std=c++20", "-O2", "-fPIC", "-c", "-o", made, source, f"-I{resources.include_dir()}")
    return made


def _compile(*arguments: str | Path) -> None:
    program = compiler.find_compiler()
    subprocess.run([program.path, *program.arguments, *arguments], check=True)
