"""The code that rlstructures' page on environments prints, with the few changes of PORT, runs here."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from seed_documents import directed, document

pytestmark = pytest.mark.integration

# (line of the document, what runs instead, reason). Every other line runs as printed.
PORT = [
    (
        "from gym.utils import seeding",
        "import numpy as np",
        "the page is of gym < 0.22: since then gym's seeding makes Generators, which have no `rand`",
    ),
    (
        "self.np_random,seed=seeding.np_random(seed)",
        "self.np_random=np.random.RandomState(seed)",
        "what gym's seeding made then",
    ),
]
# Names that the page uses and does not import or define.
BESIDE = """
import torch
from envpool_wrap.integrations.rlstructures import DictTensor, GymEnv, GymInfEnv
"""
NOT_RUN: list[tuple[str, str]] = []  # (line, reason): there is no trainer on this page


@pytest.fixture
def blocks() -> list[str]:
    """The page's blocks, ported: the class, GymEnv, GymInfEnv, one step, and the loop."""
    text = document("004")
    pytest.importorskip("torch")
    with warnings.catch_warnings():  # what gym says while it is imported is not ours
        warnings.simplefilter("ignore")
        pytest.importorskip("gym")
    for old, new, _ in PORT:
        assert text.count(old) == 1, f"the document has not one {old!r}"
        text = text.replace(old, new)
    cut = directed(text)
    assert len(cut) == 5
    return cut


def run(blocks: list[str], names: dict[str, Any]) -> dict[str, Any]:
    """The names that there are after these blocks; `names` are there before."""
    for block in [BESIDE, *blocks]:
        exec(compile(block, "the document", "exec"), names)
    return names


def test_the_loop_runs_until_no_env_does(blocks: list[str], capsys: Any, monkeypatch: Any) -> None:
    described, as_gym_env, _, _, loop = blocks
    names = run([described, as_gym_env], {"__name__": "document"})
    env, told = names["env"], []

    def step(action: Any) -> Any:
        result = type(env).step(env, action)
        told.append([ids.tolist() for _, ids in result])
        return result

    monkeypatch.setattr(env, "step", step, raising=False)
    names = run([loop], names)
    assert told == [
        [[0, 1, 2, 3], [0, 1, 2, 3]],
        [[0, 1, 2, 3], [0, 1]],
        [[0, 1], [0]],
        [[0], []],
    ]
    obs = names["obs"]
    assert obs["x"].shape == obs["identifier"].shape == (1, 1)
    assert obs["x"].item() == obs["reward"].item() == pytest.approx(-1.156169, abs=1e-6)
    said = capsys.readouterr().out.splitlines()
    seeds = [line for line in said if line.startswith("Seed")]
    assert seeds == [f"Seed = {seed}" for seed in (0, 80, 81, 82, 83)], "0 is to infer the observation space"
    assert sum(line.startswith("DictTensor(") for line in said) == 1 + len(told), "the first obs, each obs2"
    env.close()


def test_first_observations_are_those_that_the_seeds_give(blocks: list[str]) -> None:
    described, as_gym_env, *_ = blocks
    names = run([described, as_gym_env], {"__name__": "document"})
    obs, running = names["env"].reset()
    assert running.tolist() == [0, 1, 2, 3]
    first = [0.043831, -0.289162, -0.449549, -0.485915]
    assert obs["x"].squeeze(1).tolist() == pytest.approx(first, abs=1e-6)
    names["env"].close()


def test_one_step_of_infinite_envs(blocks: list[str]) -> None:
    described, _, as_infinite, step, _ = blocks
    names = run([described, as_infinite], {"__name__": "document"})
    names["env"].reset()
    names["action"] = names["DictTensor"]({"action": names["torch"].tensor([0, 0, 0, 0])})
    for _ in range(2):
        names = run([step], names)
    obs, obs2 = names["obs"], names["obs2"]
    assert obs["done"].tolist() == [False, False, True, True]
    assert obs2["initial_state"].tolist() == [False, False, True, True] and not obs2["done"].any()
    assert names["who_was_running"].tolist() == names["who_is_still_running"].tolist() == [0, 1, 2, 3]
    assert (obs["x"][2:] < -1).all() and (obs2["x"].abs() <= 1).all()
    names["env"].close()
