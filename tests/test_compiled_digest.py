"""What hooks depend on is in their digest, so that they are compiled again when it changes, and only then."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envpool_protocol.compiled.digest import code_digest, digest
from envpool_protocol.random import Random

PROGRAM = """
import enum
from typing import NamedTuple
import numpy as np
from gymnasium import spaces
from envpool_protocol import EnvPoolProtocol
import helper_of_digest as helper
class Kind(enum.Enum):
    WALL = 5
class Pair(NamedTuple):
    left: float
    right: float = 0.5
LIMIT = 3
TABLE = np.array([1.0, 2.0])
def shift(x, by=1):
    return x + by
class Env(EnvPoolProtocol):
    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)
    state_envpool = {"t": np.int64, "x": np.float64}
    SIZE = (2, 3)
    def _reset_envpool(self):
        self.t = LIMIT
    def _step_envpool(self, action):
        self.t = self._next(action)
    def _next(self, action):
        return shift(self.t) + helper.more(action)
    def _make_obs_envpool(self):
        return self.t + Kind.WALL.value + Pair(1.0).right
    def _done_envpool(self):
        return self.t > TABLE[0]
    def _reward_envpool(self):
        return 1.0
"""
HELPER = """
UNUSED = 1
def more(x):
    return less(x) + 2
def less(x):
    return x - 1
"""


@pytest.fixture
def digest_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`digest_of(program, helper)`: of its class Env."""

    def make(
        program: str = PROGRAM,
        helper: str = HELPER,
        of: Callable[[type], str] = digest,
        file: str = "program.py",
    ) -> str:
        module = type(sys)("helper_of_digest")
        exec(compile(helper, "helper.py", "exec", dont_inherit=True), module.__dict__)
        monkeypatch.setitem(sys.modules, "helper_of_digest", module)
        names = {"__name__": "program"}
        exec(compile(program, file, "exec", dont_inherit=True), names)
        return of(names["Env"])  # type: ignore[arg-type]

    return make


def test_the_same_text_has_the_same_digest_in_any_process(
    digest_of: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "helper_of_digest.py").write_text(HELPER)
    script = "import program; from envpool_protocol.compiled.digest import digest; print(digest(program.Env))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(printed) == 1 and digest_of() == digest_of()


@pytest.mark.parametrize(
    "change",
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("[1.0, 2.0]", "[1.5, 2.0]"),
        ("by=1", "by=2"),
        ("x + by", "x - by"),
        ("np.float64", "np.float32"),
        ("(2, 3)", "(2, 4)"),
        ("return 1.0", "return 2.0"),
        ("WALL = 5", "WALL = 6"),
        ("right: float = 0.5", "right: float = 1.5"),
        ("self.t > TABLE", "self.t >= TABLE"),
        ("\ndef shift", "\n\ndef shift"),  # lines are in tracebacks
    ],
    ids=lambda change: change[1].strip(),
)
def test_a_change_changes_the_digest(digest_of: Callable[..., str], change: tuple[str, str]) -> None:
    assert PROGRAM.count(change[0]) == 1
    for of in (digest, code_digest):
        assert digest_of(PROGRAM.replace(*change), of=of) != digest_of(of=of)


@pytest.mark.parametrize("change", [("+ 2", "+ 3"), ("x - 1", "x - 2")])
def test_so_does_a_change_of_what_another_module_computes(
    digest_of: Callable[..., str], change: tuple[str, str]
) -> None:
    assert digest_of(helper=HELPER.replace(*change)) != digest_of()


@pytest.mark.parametrize("change", [("+ 2", "+ 3"), ("x - 1", "x - 2")])
def test_so_does_a_change_in_a_module_of_a_package(
    digest_of: Callable[..., str], change: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def through_package(helper: str) -> str:
        package, inner = type(sys)("package_of_digest"), type(sys)("package_of_digest.inner")
        exec(compile(helper, "inner.py", "exec"), inner.__dict__)
        package.inner, inner.outer = inner, package  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "package_of_digest", package)
        program = PROGRAM.replace("helper.more", "package_of_digest.inner.outer.inner.more")
        return digest_of(program.replace("LIMIT = 3", "import package_of_digest; LIMIT = 3"))

    assert through_package(HELPER.replace(*change)) != through_package(HELPER) == through_package(HELPER)


def test_what_is_installed_counts_by_its_version(
    digest_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = PROGRAM.replace("helper.more(action)", "gymnasium.make(action)")
    calls = calls.replace("LIMIT = 3", "import gymnasium; LIMIT = 3")
    before = digest_of(calls)
    assert digest_of(calls) == before, "whatever its functions reach"
    import gymnasium

    monkeypatch.setattr(gymnasium, "__version__", "99")
    assert digest_of(calls) != before


PICKLING = """
import sys, cloudpickle
names = {"__name__": "__main__"}
exec(compile(open("program.py").read(), "<cell>", "exec"), names)
sys.stdout.buffer.write(cloudpickle.dumps(names["Env"]))
"""
UNPICKLING = """
import sys, pickle
from envpool_protocol.compiled.digest import code_digest
print(code_digest(pickle.loads(sys.stdin.buffer.read())))
"""


def test_a_pickled_class_has_the_same_code(digest_of: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "helper_of_digest.py").write_text(HELPER)

    def run(program: str, given: bytes = b"") -> bytes:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, cwd=tmp_path, input=given, capture_output=True, check=True).stdout

    assert run(UNPICKLING, run(PICKLING)).decode().strip() == digest_of(of=code_digest)


def test_names_of_the_fields_of_a_tuple_count(digest_of: Callable[..., str]) -> None:
    one = PROGRAM.replace("Pair(1.0).right", "PAIR.right") + "PAIR = Pair(1.0, 2.0)"
    two = one.replace("    left: float\n    right: float = 0.5", "    right: float\n    left: float = 0.5")
    assert one != two and digest_of(one) != digest_of(two)


def test_code_is_the_same_wherever_it_lies_and_whatever_is_installed(
    digest_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = PROGRAM.replace('"t": np.int64', '"random": Random')
    program = program.replace("LIMIT = 3", "from envpool_protocol.random import Random; LIMIT = 3")
    before, whole = digest_of(program, of=code_digest), digest_of(program)
    assert (digest_of(program, of=code_digest, file="other.py"), digest_of(program)) == (before, whole)
    assert digest_of(program, file="other.py") != whole, "its name is in tracebacks"
    monkeypatch.setattr(Random, "choice", lambda self, count: 0)
    monkeypatch.setattr("envpool_protocol.compiled.digest._version", lambda tool: "99")
    assert digest_of(program, of=code_digest) == before != digest_of(PROGRAM, of=code_digest)
    assert digest_of(program) != whole


def test_what_hooks_do_not_name_does_not_count(digest_of: Callable[..., str]) -> None:
    assert digest_of(helper=HELPER.replace("UNUSED = 1", "UNUSED = 2")) == digest_of()
