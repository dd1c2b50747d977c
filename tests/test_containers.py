"""docker/Dockerfile, built without a Docker daemon: its envs run without a compiler; twice gives the same."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest
from containers import CANNOT, tool

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(1200)]


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


def test_nobody_is_root_in_it(image: str) -> None:
    assert said_by(image, "id", "-un") == "nobody\n"


def test_throughput_beside_a_plain_loop_is_in_it(image: str) -> None:
    lines = [json.loads(line) for line in said_by(image, "cat", "results/throughput.jsonl").splitlines()]
    assert {line["status"] for line in lines} == {"ok"}
    measured = {(line["env"], line["contender"]) for line in lines}
    assert measured >= {(env, one) for env in ("noop", "cartpole") for one in ("loop", "ours-process")}
    assert "ours-process" in said_by(image, "cat", "results/throughput.md")


def test_the_demo_ran_while_it_was_built(image: str) -> None:
    said = said_by(image, "cat", "results/demo.txt")
    assert len(re.findall(r"^(?:MyEnv|HalfCheetah)_wrap, (?:gym|dm), 16 envs, .* ratio ", said, re.M)) == 4


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
