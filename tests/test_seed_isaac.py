"""The Isaac Gym blocks of two documents about ElegantRL run, but for a trainer and Isaac Gym itself.

The documents are not part of this project: their code is cut out of them here and ported by a table. A task
with Isaac Gym's contract and Ant's sizes stands in for it.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from seed_documents import directed, document
from simulators import FakeVecTask

pytestmark = pytest.mark.integration

# (old line, new line, reason)
PORTED = [
    (
        "from elegantrl.envs.IsaacGym import PreprocessIsaacVecEnv",
        "from envpool_wrap.integrations.isaac import PreprocessIsaacVecEnv",
        "where the name is here",
    ),
    (
        "from elegantrl.envs.IsaacGym import IsaacVecEnv, IsaacOneEnv",
        "from envpool_wrap.integrations.isaac import IsaacVecEnv, IsaacOneEnv",
        "where the names are here",
    ),
    (
        "args = Arguments(agent=AgentPPO, env_func=env_func, env_args=env_args)",
        "args = SimpleNamespace(env_func=env_func, env_args=env_args, max_step=env_args['max_step'])",
        "the trainer's settings, without its agent",
    ),
]
NOT_RUN = {
    "import isaacgym": "Isaac Gym is on no index",
    "from elegantrl.agent.AgentPPO import AgentPPO": "a trainer's agent",
    "from elegantrl.run import train_and_evaluate_mp": "a trainer",
    "train_and_evaluate_mp(args)": "a trainer",
}


def blocks(number: str) -> list[str]:
    """The Python blocks of a document about Isaac Gym."""
    return directed(document(number))


def ported(block: str) -> str:
    """A block with the lines of the table replaced and those that are not run left out."""
    new = {old: line for old, line, _ in PORTED} | dict.fromkeys(NOT_RUN, "")
    return "\n".join(new.get(line, line) for line in block.splitlines())


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")

    def make(*, task: str, num_envs: int, **settings: Any) -> FakeVecTask:
        assert task == "Ant"
        return FakeVecTask(num_envs, num_obs=60, num_actions=8)

    monkeypatch.setitem(sys.modules, "isaacgym", ModuleType("isaacgym"))
    monkeypatch.setitem(sys.modules, "isaacgymenvs", ModuleType("isaacgymenvs"))
    sys.modules["isaacgymenvs"].make = make  # type: ignore[attr-defined]


def test_the_first_documents_env_cannot_be_made_or_stepped() -> None:
    import torch

    names: dict[str, Any] = {}
    exec(ported(blocks("000")[0]), names)
    env = names["env"]
    state, _ = env.reset()
    assert state.shape == (4096, 60)
    state, reward, terminal, truncate, _ = env.step(torch.ones(4096, 8))
    assert [one.shape for one in (reward, terminal, truncate)] == [(4096,)] * 3
    assert terminal[:2].tolist() == [True, False] and not truncate.any()


def test_the_second_documents_envs_cannot_be_made_or_stepped() -> None:
    import torch

    names: dict[str, Any] = {"SimpleNamespace": SimpleNamespace}
    for block in blocks("001"):
        exec(ported(block), names)
    args = names["args"]
    env = args.env_func(**args.env_args)
    for name, value in args.env_args.items():
        if name not in ("device_id", "if_print"):
            assert getattr(env, name) == value
    env.reset()
    ended = [env.step(torch.ones(4096, 8))[2:4] for _ in range(4)]
    assert [int(terminal[:4].sum()) for terminal, _ in ended] == [1, 1, 2, 0]
    assert ended[3][1].sum() == 4096 - 3, "the limit of the stand-in"
    one = args.eval_env_func(**args.eval_env_args)
    state, _ = one.reset()
    assert state.shape == (60,) and one.step(torch.ones(8).numpy())[2] is True


def test_a_line_of_the_tables_is_in_no_document() -> None:
    lines = [line for block in (blocks("000")[0], *blocks("001")) for line in block.splitlines()]
    assert {old for old, _, _ in PORTED} | set(NOT_RUN) <= set(lines)
