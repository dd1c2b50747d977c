"""From descriptions to C++: golden sources, the engine's dtypes, odd spaces."""

from __future__ import annotations

import difflib
import re
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pybind11
import pytest
from envs import Counting, Faulty, Nested, Telling
from gymnasium import spaces
from plain_envs import DMEcho

from envpool_protocol import compiler, generator, resources
from envpool_protocol.cpp_text import c_dtype
from envpool_protocol.errors import SpecError
from envpool_protocol.sources import Description, source_of
from envpool_protocol.spec import DTYPES

GOLDEN = Path(__file__).resolve().parent / "golden"
GOLDEN_ENVS: list[type] = [Counting, Nested, DMEcho, Telling]


# Whole files


@pytest.mark.parametrize("name", generator.TEMPLATES)
@pytest.mark.parametrize("cls", GOLDEN_ENVS)
def test_generated_sources_change_only_when_somebody_means_it(
    cls: type, name: str, request: pytest.FixtureRequest
) -> None:
    path, made = GOLDEN / cls.__name__ / name, generator.render(source_of(cls).describe())[name]
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made, "utf-8")
    kept = path.read_text("utf-8") if path.exists() else ""
    change = "".join(
        difflib.unified_diff(kept.splitlines(True), made.splitlines(True), "golden", "generated")
    )
    assert not change, f"{change}\nIf that is meant: pytest --update-golden, and read the diff"


def test_golden_folder_holds_no_file_that_is_no_longer_generated() -> None:
    names = [cls.__name__ for cls in GOLDEN_ENVS]
    files = {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*") if path.is_file()}
    assert files == {f"{env}/{name}" for env in names for name in generator.TEMPLATES}


def test_sources_are_the_same_from_a_record_as_from_the_class() -> None:
    """Else a module would be compiled again in each new process."""
    description = source_of(Nested).describe()
    assert generator.render(Description.from_json(description.to_json())) == generator.render(description)


def test_optional_hooks_are_called_only_where_the_class_has_them() -> None:
    plain, full = (generator.render(source_of(cls).describe())["env.cc"] for cls in (Counting, Faulty))
    for flag in ("has_truncated", "has_info"):
        assert f".{flag} = false," in plain and f".{flag} = true," in full


def test_hole_without_a_value_is_an_error_not_an_empty_string(monkeypatch: pytest.MonkeyPatch) -> None:
    import jinja2

    values = generator._template_values(source_of(Counting).describe())
    monkeypatch.setattr(generator, "_template_values", lambda _: {**values, "env": object()})
    with pytest.raises(jinja2.UndefinedError):
        generator.render(source_of(Counting).describe())


@pytest.mark.parametrize("key", ["a\0b", "\ud800"], ids=["NUL", "surrogate"])
def test_key_that_cpp_cannot_hold_is_refused_instead_of_cut_short(key: str) -> None:
    class Keyed(Counting):
        def __init__(self, envid: int) -> None:
            self.observation_space = self.action_space = spaces.Dict({key: spaces.Discrete(2)})

    with pytest.raises(SpecError, match=r"has a NUL or a lone surrogate in it"):
        generator.render(source_of(Keyed).describe())


# Dtypes: three tables say the same


LEAF_H = (resources.include_dir() / "cpp_core" / "leaf.h").read_text("utf-8")


def test_enumerators_are_the_engines_in_its_order() -> None:
    body = re.search(r"enum EnvpoolDType : int32_t \{(.*?)\}", LEAF_H, re.S)
    assert body is not None
    enum = re.findall(r"k\w+", body[1])
    assert [c_dtype(dtype) for dtype in DTYPES.values()] == enum
    assert [dtype.code for dtype in DTYPES.values()] == list(range(len(enum)))


def test_names_and_sizes_are_the_engines() -> None:
    rows = re.findall(r'\{"(\w+)", (\d+)\}', LEAF_H.partition("kDTypes = ")[2])
    assert [(dtype.name, str(dtype.itemsize)) for dtype in DTYPES.values()] == rows


def test_cpp_types_have_the_sizes_of_the_table(tmp_path: Path) -> None:
    checks = "\n".join(f"static_assert(sizeof({d.cpp_type}) == {d.itemsize});" for d in DTYPES.values())
    (tmp_path / "sizes.cc").write_text(f"#include <cstdint>\n{checks}\n")
    command = [compiler.find_compiler().path, "-std=c++20", "-fsyntax-only", "sizes.cc"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)


def test_strict_flags_of_a_user_are_a_reason_to_refuse_our_sources() -> None:
    strict = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-fsyntax-only"]
    folders = (resources.include_dir(), sysconfig.get_path("include"), pybind11.get_include())
    sources = [*GOLDEN.glob("*/env.cc"), GOLDEN / "Counting" / "module.cc"]
    command = [compiler.find_compiler().path, *strict, *(f"-I{folder}" for folder in folders), *sources]
    subprocess.run(command, check=True, timeout=100)


# Odd spaces: one module with all of them, since compiling is what is tested


class Odd(Counting):
    """Keys that are C++ words, look alike or need escapes; containers of one; empty arrays; every dtype."""

    def __init__(self, envid: int) -> None:
        super().__init__(envid)
        boxes = {dtype: spaces.Box(0, 1, (2,), np.dtype(dtype)) for dtype in DTYPES}
        self.observation_space = self.action_space = spaces.Dict(
            {
                "class": spaces.Dict({"0": spaces.Discrete(2), "": spaces.Discrete(3)}),
                "0": spaces.Tuple([spaces.Tuple([spaces.MultiBinary([2, 2])])]),
                '??/"\\\n\t%s': spaces.Box(-np.inf, np.inf, (0, 3), np.float32),
                "int": spaces.MultiDiscrete([2, 3], start=[-1, 2**40]),
                "ключ": spaces.Discrete(2, start=-(2**62)),
                "types": spaces.Dict(boxes),
            }
        )
        self.action: Any = self.observation_space.sample()

    def _step_envpool(self, action: Any) -> None:
        self.action = action

    def _make_obs_envpool(self) -> Any:
        return self.action

    def _done_envpool(self) -> bool:
        return False


def leaves_of(value: Any) -> list[Any]:
    if not isinstance(value, dict | tuple):
        return [value]
    children = value.values() if isinstance(value, dict) else value
    return [leaf for child in children for leaf in leaves_of(child)]


def test_odd_spaces_compile_and_every_leaf_comes_back(make: Callable[..., Any]) -> None:
    pool = make(Odd)
    pool.reset()
    space = Odd(0).action_space
    space.seed(3)
    action = space.sample()

    def one_row(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: one_row(child) for key, child in value.items()}
        return tuple(map(one_row, value)) if isinstance(value, tuple) else np.asarray(value)[None]

    obs = pool.step(one_row(action))[0]
    sent, came = leaves_of(action), leaves_of(obs)
    assert len(sent) == len(came) == 6 + len(DTYPES)
    for one, two in zip(sent, came, strict=True):
        np.testing.assert_array_equal(np.asarray(one)[None], np.asarray(two))
