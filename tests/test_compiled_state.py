"""Records of a declared state: their layout, and the way to and from an instance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_compiled_hooks import Base, Inner, Plain, Takes

from envpool_protocol.compiled.state import (
    offsets_of,
    read_state,
    state_dtype,
    unset_fields,
    write_state,
)
from envpool_protocol.errors import SpecError


def test_a_record_is_aligned_and_has_what_base_classes_declare() -> None:
    dtype = state_dtype(Base)
    assert dtype.names == ("t", "random", "x", "inner", "flag", "small", "single")
    assert dtype.isalignedstruct and dtype["inner"] == state_dtype(Inner)
    assert offsets_of(Base)["single"] % 4 == 0


def test_an_instance_goes_into_a_record_and_back() -> None:
    env, twin = Base(0), Base(1)
    env._seed_envpool(3)
    env._reset_envpool()
    env.inner.dig(0.7)
    records = np.zeros(2, state_dtype(Base))
    write_state(env, records[1])
    assert records[0].tobytes() == bytes(records.itemsize)
    read_state(records[1], twin)
    for name in ("t", "x", "flag", "small", "single"):
        assert getattr(twin, name) == getattr(env, name) and type(getattr(twin, name)) is type(
            getattr(env, name)
        )
    assert twin.inner.depth == env.inner.depth == float(np.float32(1.65))
    assert twin.inner.random.uniform() == env.inner.random.uniform()
    again = np.zeros(1, state_dtype(Base))
    write_state(twin, again[0])
    assert again[0] != records[1], "it has drawn once more"


def test_what_was_never_set_is_told_by_its_poison() -> None:
    records = np.zeros(2, state_dtype(Base))
    for record, poison in zip(records, (True, False), strict=True):
        write_state(Base(0), record, poison)
    assert unset_fields(Base, records[0]) == ["t", "x", "flag", "small", "single"]
    assert unset_fields(Base, records[1]) == []
    assert np.isnan(records[0]["x"])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"size": 1.5}, r"Takes\.size is declared int64, got 1\.5 of type float"),
        ({"size": "many"}, r"Takes\.size is declared int64"),
        ({"heights": (1.0, 2.0)}, r"Takes\.heights is declared float64\[3\], got float64\[2\]"),
        ({"heights": "abc"}, r"Takes\.heights is declared float64\[3\]"),
    ],
)
def test_attributes_of_another_type_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        Takes(0, **given)


def test_a_record_that_is_no_record_of_its_class_is_refused() -> None:
    env = Base(0)
    vars(env)["x"] = "text"  # past the checks of an assignment
    with pytest.raises(SpecError, match=r"Base\.x is 'text'"):
        write_state(env, np.zeros(1, state_dtype(Base))[0])


def test_a_constant_that_is_hidden_is_refused() -> None:
    class Tuned(Plain):
        gain = 2.0

        def __init__(self, envid: int, gain: float = 2.0) -> None:
            self.gain = gain

    record = np.zeros(1, state_dtype(Tuned))[0]
    write_state(Tuned(0), record)
    with pytest.raises(SpecError, match=r"Tuned sets self.gain = 3.0, where the class says 2.0"):
        write_state(Tuned(0, gain=3.0), record)


def test_arrays_are_copied_into_their_place() -> None:
    env = Takes(0)
    seen = env.heights
    env.heights = np.array([4.0, 5.0, 6.0])
    assert seen is env.heights and seen.tolist() == [4, 5, 6]
    env.heights = 7
    assert seen.tolist() == [7, 7, 7]
