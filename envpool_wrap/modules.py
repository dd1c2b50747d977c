"""Modules of envs: a compiled one is loaded from its file, a prebuilt one made from its description.

`load(reference_to(module))` is that module again, in another process too.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
import threading
from types import ModuleType

from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import Description

Reference = tuple[str, str | None, str]  # name, file or None, description

_loading = threading.Lock()  # a module that two threads load at once fails in one of them


def is_prebuilt(module: ModuleType) -> bool:
    """Whether nothing was compiled for it."""
    return getattr(module, "__file__", None) is None


def reference_to(module: ModuleType) -> Reference:
    """What another process needs to have the same module."""
    return module.__name__, getattr(module, "__file__", None), module.description


def load(reference: Reference) -> ModuleType:
    """The module that `reference_to` was called on.

    Raises:
        ImportError: the file is not a module of this engine.
    """
    name, file, description = reference
    if file is None:
        return prebuilt_module(Description.from_json(json.loads(description)))
    return load_module(name, file)


def load_module(name: str, path: str) -> ModuleType:
    """The compiled module in the file `path`, imported once as `name`.

    Raises:
        ImportError: the file is not a module of this engine.
    """
    with _loading:
        if name in sys.modules:
            return sys.modules[name]
        loader = importlib.machinery.ExtensionFileLoader(name, path)
        spec = importlib.util.spec_from_file_location(name, path, loader=loader)
        assert spec is not None  # a loader was given
        try:
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
        except ImportError as error:
            raise ImportError(f"{path} cannot be loaded: {error}") from error
        sys.modules[name] = module
        return module
