"""What instructions.py counts, in the process that callgrind watches.

python -m benchmarks.counted CONTROL_LIBRARY
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STEPS = 200
WARM = 150  # steps beforehand: the observations of the first 100 are checked


@dataclass(frozen=True)
class Case:
    """Steps of a pool of no-op envs.

    Attributes:
        config: of the pool.
        engine_only: count only what our libraries execute themselves, per env-step; else everything, Python
            and the env included, per step of the pool.
    """

    config: Mapping[str, Any]
    engine_only: bool = False

    @property
    def units(self) -> int:
        """How many of those steps are counted."""
        return STEPS * (int(self.config["num_envs"]) if self.engine_only else 1)


_MANY = {"env_type": "gym", "num_envs": 64}
CASES = {
    "engine, per env-step": Case(_MANY, engine_only=True),
    "engine, same-step autoreset": Case({**_MANY, "autoreset_mode": "same_step"}, engine_only=True),
    "engine, observations checked": Case({**_MANY, "check": True}, engine_only=True),
    "a step of one env, gym": Case({"env_type": "gym", "num_envs": 1}),
    "a step of one env, gymnasium": Case({"env_type": "gymnasium", "num_envs": 1}),
    "a step of one env, dm": Case({"env_type": "dm", "num_envs": 1}),
}


def main(control: str) -> None:
    """All cases, one after the other."""
    import envpool_wrap
    from benchmarks.envs import ENVS

    library = ctypes.CDLL(control)
    for title, case in CASES.items():
        actions = ENVS["noop"].actions(int(case.config["num_envs"]))[0]
        with envpool_wrap.make("Noop_wrap", backend="inline", **case.config) as pool:
            pool.reset()
            for _ in range(WARM):
                pool.step(actions)
            gc.collect()
            gc.disable()
            library.start_counting()
            for _ in range(STEPS):
                pool.step(actions)
            library.stop_counting(title.encode())
            gc.enable()


if __name__ == "__main__":
    main(sys.argv[1])
