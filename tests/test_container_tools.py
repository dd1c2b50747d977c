"""The tools around docker/Dockerfile: what they answer, and what is pinned."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from containers import CANNOT, ROOT, tool

PINS = sorted((ROOT / "docker" / "requirements").glob("*.txt"))


# What the tool says


def test_tool_tells_why_it_cannot_build_here(tmp_path: Path) -> None:
    somebody = tmp_path / "id"
    somebody.write_text("#!/bin/sh\necho 1000\n")
    somebody.chmod(0o755)
    done = tool("image", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (CANNOT, "container-build: this needs root\n")


@pytest.mark.parametrize(
    "arguments", [(), ("--run",), ("--remove",), ("--remove", "a", "b"), ("--what", "a")]
)
def test_wrong_arguments_are_answered_with_the_right_ones(arguments: tuple[str, ...]) -> None:
    done = tool(*arguments)
    assert done.returncode == 2 and "tools/container-build TAG" in done.stderr


# What is pinned


@pytest.mark.parametrize("pins", PINS, ids=lambda path: path.name)
def test_each_pin_has_its_version_and_hashes_and_names_no_index(pins: Path) -> None:
    text = pins.read_text("utf-8")
    requirements = re.sub(r"\\\n *", "", re.sub(r" *#.*", "", text)).split("\n")
    lines = [line for line in requirements if line]
    assert lines and all(re.fullmatch(r"[\w.-]+==\S+( --hash=sha256:[0-9a-f]{64})+", line) for line in lines)
    assert "://" not in text


def test_no_package_is_pinned_to_two_versions() -> None:
    pinned = {line for pins in PINS for line in re.findall(r"^([\w.-]+==\S+)", pins.read_text("utf-8"), re.M)}
    assert len({pin.partition("==")[0] for pin in pinned}) == len(pinned)
