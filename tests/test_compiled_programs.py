"""Programs drawn at random: compiled, they compute what the interpreter does, bit by bit."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driven import Driven
from test_compiled_arithmetic import both, equal

from envpool_protocol.origins import object_in

pytest.importorskip("numba")

NUM_OUTPUTS, DEPTH, NUM_STATES = 12, 3, 300
# {i}, {x} and {b} stand for expressions of ints, floats and bools.
GRAMMAR = {
    "i": (
        *("({i} + {i})", "({i} - {i})", "({i} * {i} % 10007)", "({i} // ({i} or 5))", "({i} % ({i} or -3))"),
        *("abs({i})", "min({i}, {i})", "max({i}, {i})", "({i} if {b} else {i})", "({i} & {i})", "(-{i})"),
        *("({i} ^ {i})", "({i} >> ({i} & 63))", "(({i} & 255) << ({i} & 7))", "int({x} % 1000.0)"),
        *("divmod({i}, {i} or 4)[0]", "divmod({i}, {i} or 4)[1]", "({b} + {b})"),
    ),
    "x": (
        *("({x} + {x})", "({x} - {x})", "({x} * {x})", "({x} / ({x} or 0.5))", "({x} % ({x} or 0.7))"),
        *("({x} // ({x} or -0.3))", "abs({x})", "min({x}, {x})", "max({x}, {x})", "({x} if {b} else {x})"),
        *("float({i})", "({i} / ({i} or 3))", "(-{x})", "(1.0 * math.floor({x} % 100.0))"),
    ),
    "b": ("({i} < {i})", "({x} >= {x})", "(not {b})", "({b} and {b})", "({b} or {b})", "({i} < {x})"),
}
LEAVES = {
    "i": ("self.a", "self.b", "3", "-2", "self.n", "self.small", "int(self.g[1])"),
    "x": ("self.x", "self.y", "0.1", "-2.5", "self.s", "self.v[1]"),
    "b": ("self.flag", "(self.x != self.y)", "(self.a == 3)"),
}
STATEMENTS = (
    *(
        "self.s = {x} % 50.0",
        "self.n += {i} & 1023",
        "self.small = {i}",
        "self.flag = {b}",
        "self.v[2] = {x}",
    ),
    *("self.g[0] = {i} % 99", "if {b}:\n            self.v[1] = {x}", "self.x, self.y = self.y, self.x"),
)
PROGRAM = """import math
import numpy as np
from gymnasium import spaces
from envpool_protocol import EnvPoolProtocol

class {name}(EnvPoolProtocol):
    observation_space = spaces.Box(-np.inf, np.inf, ({size},), np.float64)
    action_space = spaces.Discrete(2)
    state_envpool = {{
        "a": np.int64, "b": np.int64, "x": np.float64, "y": np.float64, "n": np.int32, "small": np.int8,
        "g": (np.int64, (2,)), "s": np.float32, "v": (np.float64, (3,)), "flag": bool,
    }}
    def __init__(self, envid): pass
    def _reset_envpool(self): pass
    def _step_envpool(self, action): pass
    def _make_obs_envpool(self, out):
{body}
    def _done_envpool(self): return False
    def _reward_envpool(self): return 0.0
"""


def drawn(text: str, depth: int, draw: random.Random) -> str:
    """`text` with an expression in each place."""
    while "{" in text:
        at = text.index("{")
        kind = text[at + 1]
        made = draw.choice(LEAVES[kind]) if depth == 0 else drawn(draw.choice(GRAMMAR[kind]), depth - 1, draw)
        text = text[:at] + made + text[at + 3 :]
    return text


def program(name: str, draw: random.Random) -> str:
    lines = []
    for output in range(NUM_OUTPUTS):
        lines.append(f"out[{output}] = " + drawn("{x}", DEPTH, draw))
        lines.append(drawn(draw.choice(STATEMENTS), DEPTH - 1, draw))
    body = "\n".join(f"        {line}" for line in lines)
    return PROGRAM.format(name=name, size=NUM_OUTPUTS, body=body)


@pytest.mark.parametrize("seed", range(2))
def test_any_program(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])  # to which the program's folder is added
    draw = random.Random(seed)
    file = tmp_path / f"program_{seed}.py"
    file.write_text(program(f"Program{seed}", draw))
    driven = Driven(object_in(file, f"Program{seed}"), tmp_path)
    for _ in range(NUM_STATES):
        given: dict[str, Any] = {
            "a": draw.choice([0, 1, -1, draw.randrange(-1000, 1000)]),
            "b": draw.randrange(-50, 50),
            "x": draw.choice([0.0, -0.0, 1e-5, draw.uniform(-10, 10)]),
            "y": draw.uniform(-3, 3),
            "n": 5,
            "small": 7,
            "s": 0.5,
            "flag": draw.random() < 0.5,
            "g": np.array([2, -9]),
            "v": np.array([0.5, -1.5, 2.0]),
        }
        compiled, interpreted = both(driven, **given)
        assert equal(compiled, interpreted), (given, compiled, interpreted, file.read_text())
