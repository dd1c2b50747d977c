"""Make pools of generated envs: `envpool_wrap.make("MyEnv_wrap", env_type="gym", num_envs=8)`.

Importing this imports neither gymnasium nor the engine; the first `make` does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from envpool_wrap.integrations import gymnasium

if TYPE_CHECKING:
    from envpool_wrap.env_fns import from_env_fns
    from envpool_wrap.registry import (
        list_all_envs,
        make,
        make_dm,
        make_gym,
        make_gymnasium,
        make_spec,
        register,
    )
    from envpool_wrap.tuning.tune import tune

__all__ = [
    "from_env_fns",
    "list_all_envs",
    "make",
    "make_dm",
    "make_gym",
    "make_gymnasium",
    "make_spec",
    "register",
    "tune",
]

_HOMES = {"from_env_fns": "env_fns", "tune": "tuning.tune"}  # of what is not in registry.py


gymnasium.meet()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"envpool_wrap.{_HOMES.get(name, 'registry')}")
    globals()[name] = getattr(home, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted([*(name for name in globals() if name.startswith("__")), *__all__])
