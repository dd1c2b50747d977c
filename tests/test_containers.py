"""docker/Dockerfile, built without a Docker daemon: its envs run without a compiler, and are the same when built twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "container-build"
CANNOT = 3  # the tool's exit code where containers cannot be built
PINS = sorted((ROOT / "docker" / "requirements").glob("*.txt"))


def tool(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOL, *arguments], capture_output=True, text=True, env={**os.environ, **environ}, cwd="/"
    )


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


# What is built


def build(tag: str, *options: str) -> str:
    done = tool(tag, *options)
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip().rpartition("\n")[2])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return tag


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The tag of the runtime image."""
    tag = f"localhost/envpool-wrapper-test:{os.getpid()}"
    yield build(tag)
    tool("--remove", tag)


def said_by(image: str, *command: str) -> str:
    done = tool("--run", image, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def slow_to_build(test: object) -> object:
    for mark in (pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(1200)):
        test = mark(test)
    return test


@slow_to_build
def test_envs_run_on_every_backend_where_no_compiler_is(image: str) -> None:
    said = said_by(image)
    assert "no compiler" in said
    for task_id in ("MyEnv_wrap", "CartPole_wrap"):
        for backend in ("inline", "thread", "process"):
            (ends,) = re.findall(
                rf"^{task_id}, {backend}: 300 steps of 4 envs, (\d+) episodes ended$", said, re.M
            )
            assert int(ends) > 0
    assert said_by(image, "sh", "-c", "command -v cc c++ gcc g++ clang ld cmake ninja pip; true") == ""


@slow_to_build
def test_nobody_is_root_in_it(image: str) -> None:
    assert said_by(image, "id", "-un") == "nobody\n"


@slow_to_build
def test_throughput_beside_a_plain_loop_is_in_it(image: str) -> None:
    lines = [json.loads(line) for line in said_by(image, "cat", "results/throughput.jsonl").splitlines()]
    assert {line["status"] for line in lines} == {"ok"}
    measured = {(line["env"], line["contender"]) for line in lines}
    assert measured >= {(env, one) for env in ("noop", "cartpole") for one in ("loop", "ours-process")}
    assert "ours-process" in said_by(image, "cat", "results/throughput.md")


@slow_to_build
def test_built_twice_modules_and_wheels_are_the_same(image: str) -> None:
    first = said_by(image, "cat", "SHA256SUMS")
    again = build(f"{image}-again", "--target", "build")
    try:
        said_by(again, "sha256sum", "--check", "--quiet", "SHA256SUMS")
        assert said_by(again, "cat", "SHA256SUMS") == first
    finally:
        tool("--remove", again)
    names = [line.rpartition("/")[2] for line in first.splitlines()]
    assert sum(name.startswith(("_MyEnv_wrap.", "_CartPole_wrap.")) for name in names) == 2
    assert sum(name.startswith("envpool_wrapper-") for name in names) == 1
