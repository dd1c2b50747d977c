"""Which engine a pool runs on: envs stepped one by one through Python, or runs of them by compiled hooks."""

from __future__ import annotations

from types import ModuleType

from envpool_protocol.sources import Description
from envpool_wrap import kernels
from envpool_wrap.backends import Placement, place
from envpool_wrap.config import PoolConfig
from envpool_wrap.core import Factory, OpenCore, open_core, pickled


def open_engine(
    factory: Factory, description: Description, module: ModuleType, config: PoolConfig
) -> tuple[Placement, OpenCore]:
    """Where the workers of a pool run, and its engine, ready for the first reset.

    Raises:
        ConfigError: settings that exclude each other.
        EnvError, WorkerDied, PoolError: see `open_core`.
    """
    placement, compiled = choose(factory, description, module, config)
    opener = kernels.open_kernel if compiled else open_core
    return placement, opener(factory, description, module, config, placement)


def choose(
    factory: Factory, description: Description, module: ModuleType, config: PoolConfig
) -> tuple[Placement, bool]:
    """Where the workers of a pool would run, and whether they would run compiled hooks.

    Raises:
        ConfigError: settings that exclude each other.
    """
    compiled = kernels.are_wanted(module, config, description.spec.name)
    return place(config, lambda: pickled(factory), compiled), compiled
