"""`gymnasium.make_vec("envpool_wrap:MyEnv_wrap", num_envs=8)`.

Gymnasium imports the package before the colon and then looks the id up. So the generated envs are entered in
its registry once both packages are imported, in whichever order, and from then on as they are generated;
neither package imports the other for it.
"""

from __future__ import annotations

import sys
from typing import Any

from envpool_wrap.imports import once_imported

_REGISTRATION = "gymnasium.envs.registration"


def meet() -> None:
    """Enter the generated envs in Gymnasium's registry, now or as soon as Gymnasium is imported."""
    once_imported(_REGISTRATION, enter_all)


def enter_all() -> None:
    """Enter every env that is generated, now or later."""
    from envpool_protocol import records

    for task_id in records.task_ids():
        enter(task_id)
    if enter not in records.on_save:
        records.on_save.append(enter)


def enter(task_id: str) -> None:
    """Make `task_id` an id for `gymnasium.make_vec`."""
    registration = sys.modules[_REGISTRATION]
    registration.registry[task_id] = registration.EnvSpec(
        task_id, vector_entry_point=f"{__name__}:vector_env", kwargs={"task_id": task_id}
    )


def vector_env(task_id: str, num_envs: int = 1, **config: Any) -> Any:
    """A `GymnasiumPool`; `config` as for `envpool_wrap.make`."""
    from envpool_wrap.registry import make_gymnasium

    return make_gymnasium(task_id, num_envs=num_envs, **config)
