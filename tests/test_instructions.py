"""The guard on instruction counts: what it reads, and what it calls a difference."""

from __future__ import annotations

import pytest

from benchmarks import instructions
from benchmarks.counted import CASES

# As callgrind writes it: names come once, also with a call, and what a call cost is not the caller's own.
RECORDED = """\
# callgrind format
version: 1
desc: Trigger: Client Request: engine, per env-step

positions: line
events: Ir
summary: 1190

ob=(1) /venv/envpool_protocol/_core.cpython-311-x86_64-linux-gnu.so
fl=(1) worker.h
fn=(1) serve
10 100
+2 40
cob=(2) /home/modules/Noop-1/_Noop_wrap.cpython-311-x86_64-linux-gnu.so
cfn=(2) step
calls=7 20
* 900

ob=(2)
fn=(2)
20 50
cob=(3) /usr/lib/libpython3.11.so
cfn=(3) PyObject_Vectorcall
calls=7 1
-3 850

ob=(3)
fn=(3)
1 800

ob=(1)
fn=(4) finish
4 200
"""


def test_a_binarys_own_instructions_are_added_up() -> None:
    title, own = instructions.parse(RECORDED.splitlines())
    assert title == "engine, per env-step"
    found = {name.rpartition("/")[2].partition(".")[0]: cost for name, cost in own.items()}
    assert found == {"_core": 340, "_Noop_wrap": 50, "libpython3": 800}
    case, whole = CASES[title], CASES["a step of one env, gym"]
    assert instructions.of_case(case, own) == round(390 / case.units, 1)
    assert instructions.of_case(whole, own) == round(1190 / whole.units, 1)


@pytest.mark.parametrize(("count", "differs"), [(97.1, False), (102.9, False), (103.1, True), (96.9, True)])
def test_three_percent_either_way_is_a_difference(count: float, differs: bool) -> None:
    assert instructions.differences({"a": count, "new": 5.0}, {"a": 100.0}) == ["a"] * differs
    assert ("MORE THAN 3 % OFF" in instructions.table({"a": count}, {"a": 100.0})) == differs


def test_without_a_baseline_counts_are_shown_and_nothing_differs() -> None:
    assert instructions.differences({"a": 1.0}, {}) == []
    assert "a" in instructions.table({"a": 1.0}, None)
