"""Gymnasium's `make_vec` over pools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from envs import Counting
from gymnasium.vector import AutoresetMode, VectorEnv

from envpool_protocol.errors import ConfigError


def test_make_vec_makes_another_pool(task_id: Any) -> None:
    task_id(Counting)
    with gymnasium.make_vec("envpool_wrap:Counting_wrap", num_envs=3, backend="inline", seed=7) as pool:
        assert isinstance(pool, VectorEnv)
        assert pool.num_envs == 3
        assert pool.unwrapped.config["seed"] == 7
        assert pool.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        assert pool.reset()[0].tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
        assert pool.spec.id == "Counting_wrap"
        assert "Counting_wrap" in repr(pool)
    with gymnasium.make_vec("Counting_wrap") as pool:
        assert pool.num_envs == 1


def test_make_vec_takes_a_setting_that_does_not_exist(task_id: Any) -> None:
    task_id(Counting)
    with pytest.raises(ConfigError, match="Nearest: 'backend'"):
        gymnasium.make_vec("envpool_wrap:Counting_wrap", backends="inline")
    with pytest.raises(gymnasium.error.Error, match="entry point"):
        gymnasium.make_vec("envpool_wrap:Counting_wrap", vectorization_mode="sync")


def test_make_vec_finds_an_env_that_was_not_generated() -> None:
    with pytest.raises(gymnasium.error.NameNotFound):
        gymnasium.make_vec("envpool_wrap:Nowhere_wrap")


MAKE = """
pool = gymnasium.make_vec("envpool_wrap:Counting_wrap", num_envs=2, backend="inline")
print(pool.reset()[0].shape)
"""


@pytest.mark.parametrize(
    "imports",
    ["import gymnasium", "import gymnasium, envpool_wrap", "import envpool_wrap, gymnasium"],
)
def test_the_order_of_imports_decides(task_id: Any, imports: str, tmp_path: Path) -> None:
    task_id(Counting)
    command = [sys.executable, "-c", imports + MAKE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.stdout, done.stderr) == ("(2, 3)\n", "")


def test_importing_a_package_imports_the_other(tmp_path: Path) -> None:
    code = (
        "import sys, envpool_wrap\n"
        "assert 'gymnasium' not in sys.modules\n"
        "hooks = len(sys.meta_path)\n"
        "import gymnasium\n"
        "assert len(sys.meta_path) == hooks - 1\n"
        "assert 'envpool_protocol._core' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
