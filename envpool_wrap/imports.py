"""Other people's packages: asked for with a hint, or met once somebody else imports them.

with needs("torchrl"): import torchrl     a missing package names our extra
once_imported("gymnasium", do)            now, or as soon as it is imported; never imports it
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType


@contextlib.contextmanager
def needs(extra: str, **least: str) -> Iterator[None]:
    """What is imported below comes with the extra of that name.

    Args:
        extra: its name in pyproject.toml.
        **least: packages whose older versions do not work, and the oldest that does, such as `"1.2"`.

    Raises:
        ImportError: a package is missing or too old; the message has the command that installs it.
    """
    from importlib.metadata import version  # slow to import, and most never need it

    how = f"pip install --upgrade 'envpool-wrapper[{extra}]'"
    try:
        for package, oldest in least.items():
            if _numbers(found := version(package)) < _numbers(oldest):
                raise ImportError(f"{package} {found} is too old, {oldest} works: {how}", name=package)
        yield
    except ModuleNotFoundError as error:  # also of `version`
        missing = str(error.name).partition(".")[0]
        raise ImportError(f"{missing} is not installed: {how}", name=missing) from error


def _numbers(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", version)[:2]]


def once_imported(module: str, do: Callable[[], None]) -> None:
    """Call `do` once `module` is imported: at once if it is, else at the end of its import."""
    if module in sys.modules:
        do()
    else:
        sys.meta_path.insert(0, _Waiting(module, do))


class _Waiting:
    """Waits for a module to be imported, and is gone then. To be asked where it is does not count."""

    def __init__(self, module: str, do: Callable[[], None]) -> None:
        self._module, self._do, self._asking = module, do, False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_do(module: ModuleType) -> None:
                run(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    self._do()

            spec.loader.exec_module = run_and_do  # type: ignore[method-assign]
        return spec
