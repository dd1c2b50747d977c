"""The prebuilt module of an env: what a generated one is, without compiling (cpp_core/py_prebuilt.h).

Used where no compiler is found, and by `envpool_wrap.from_env_fns`. It has no raw classes.
"""

from __future__ import annotations

import json
import threading
from types import ModuleType
from typing import Any

from envpool_protocol import _core
from envpool_protocol.info_spec import info_table, masks_of
from envpool_protocol.sources import Description
from envpool_protocol.spec import DTYPES, SpaceSpec, plain

_made: dict[str, ModuleType] = {}
_making = threading.Lock()


def prebuilt_module(description: Description) -> ModuleType:
    """The module of `description`, made once per process. Like a loaded library, it is never freed."""
    text = json.dumps(description.to_json(), sort_keys=True)
    with _making:
        if text not in _made:
            spec = description.spec
            module = ModuleType(f"envpool_wrap._prebuilt.{spec.name}")
            facts = spec.describe() | {"obs_is_pair": spec.obs_is_pair, "info": _info(spec.info)}
            codes = {dtype.name: dtype.code for dtype in DTYPES.values()}
            module.engine_module = _core.prebuilt(facts, codes)  # type: ignore[attr-defined]
            module.description = text  # type: ignore[attr-defined]
            _made[text] = module
        return _made[text]


def _info(spec: SpaceSpec | None) -> dict[str, Any] | None:
    if spec is None:
        return None
    leaves = (*spec.leaves, *masks_of(spec))
    return {"leaves": plain(leaves), "table": [vars(node) for node in info_table(spec)]}
