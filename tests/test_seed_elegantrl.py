"""The code of ElegantRL's tutorials on VecEnvs, with what stands in for what is not there.

The first tutorial's class is cut off after its `__init__`; `examples/chasing_vec_env.py` is the whole of it.
Needs torch: `make test-all`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from seed_documents import directed, document

torch = pytest.importorskip("torch")

from envpool_wrap.integrations.elegantrl import ElegantRLEnv, ElegantRLVecEnv, build_env  # noqa: E402

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[1]

NO_ISAAC = "Isaac Gym cannot be installed from PyPI"
NO_TRAINER = "a trainer is not what a pool of envs brings"

# (line of the document, what is run in its place, why); an empty second one: it is not run
Changes = Sequence[tuple[str, str, str]]
CHASING: Changes = [
    ("from elegantrl.envs.IsaacGym import PreprocessIsaacVecEnv", "", NO_ISAAC),
    ("env = PreprocessIsaacVecEnv(env_name, if_print=False, env_num=4096, device_id=0)", "", NO_ISAAC),
    (
        "class ChasingVecEnv:",
        "",
        "no line below is indented as a method; the function is looked at by itself",
    ),
]
ISAAC: Changes = [
    (
        "from elegantrl.envs.IsaacGym import IsaacVecEnv, IsaacOneEnv",
        "from test_seed_elegantrl import IsaacVecEnv, IsaacOneEnv",
        NO_ISAAC,
    ),
    ("import isaacgym", "", NO_ISAAC),
    ("from elegantrl.agent.AgentPPO import AgentPPO", "", NO_TRAINER),
    ("from elegantrl.run import train_and_evaluate_mp", "", NO_TRAINER),
    (
        "args = Arguments(agent=AgentPPO, env_func=env_func, env_args=env_args)",
        "args = SimpleNamespace(env_args=env_args, max_step=env_args['max_step'])",
        NO_TRAINER,
    ),
    ("train_and_evaluate_mp(args)", "", NO_TRAINER),
]


def run(number: str, changes: Changes) -> dict[str, Any]:
    """The names that a document's blocks define."""
    lines = [line for block in directed(document(number)) for line in block.splitlines()]
    for old, new, _ in changes:
        places = [i for i, line in enumerate(lines) if line.strip() == old]
        assert len(places) == 1, f"{old}: {len(places)} times in the document"
        lines[places[0]] = lines[places[0]].replace(old, new)
    names: dict[str, Any] = {"SimpleNamespace": SimpleNamespace}
    exec(compile("\n".join(lines), f"document {number}", "exec"), names)
    return names


class IsaacVecEnv:
    """A batch with the tutorial's arguments: counts steps; all end after as many as row 0's action says."""

    def __init__(self, env_name: str, env_num: int = 32, device_id: int = 0, if_print: bool = True) -> None:
        self.name, self.env_num, self.if_print = env_name, env_num, if_print
        self.device = torch.device("cpu" if device_id < 0 else f"cuda:{device_id}")
        self.state_dim, self.action_dim, self.if_discrete = 60, 8, False

    def reset(self) -> Any:
        self.t = torch.zeros(self.env_num, 1, device=self.device)
        return self.t.expand(-1, 60)

    def step(self, action: Any) -> Any:
        self.t = self.t + 1
        done = (self.t >= action[0, 0]).squeeze(1)
        self.t = torch.where(done.unsqueeze(1), 0.0, self.t)
        return self.t.expand(-1, 60), action[:, 0], done.to(torch.int64), {"time_outs": torch.ones_like(done)}


class IsaacOneEnv:
    """One of them, in numpy."""

    def __init__(self, env_name: str, device_id: int = 0) -> None:
        self.t = 0

    def reset(self) -> Any:
        self.t = 0
        return np.zeros(60, np.float32)

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.full(60, self.t, np.float32), 1.0, self.t == 2, {}


def test_the_tutorials_env_is_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    names = run("000", CHASING)
    assert names["env_name"] == "Ant"
    documented = SimpleNamespace()
    names["__init__"](documented, dim=3, env_num=6)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    env = importlib.import_module("chasing_vec_env").ChasingVecEnv(dim=3, env_num=6, device_id=-1)
    false = {"init_distance", "distances"}  # what made its rewards false: no distance is kept here
    state = {name for name, value in vars(documented).items() if value is None} - false
    assert state == {"p0s", "v0s", "p1s", "v1s", "steps"}
    assert all(getattr(env, name).shape[0] == 6 for name in state)
    facts = vars(documented).keys() - state - false - {"device"}
    assert len(facts) == 8
    assert {name: getattr(env, name) for name in facts} == {name: getattr(documented, name) for name in facts}
    assert documented.device == torch.device("cuda:0")


def test_the_tutorials_arguments_build_envs() -> None:
    names = run("001", ISAAC)
    args, env_args = names["args"], names["env_args"]
    before = dict(env_args)
    with build_env(names["env_func"], env_args) as env:
        assert isinstance(env, ElegantRLVecEnv) and env_args == before
        assert (env.num_envs, env.state_dim, env.action_dim, env.if_discrete) == (4096, 60, 8, False)
        assert (env.env_name, env.max_step, env.target_return) == ("Ant", 1000, 14000.0)
        assert env.device == torch.device("cpu") and env.pool.env.if_print is False
        assert env.reset()[0].shape == (4096, 60)
        action = torch.full((4096, 8), 2.0)
        state, reward, terminal, truncate, _ = env.step(action)
        assert (state == 1).all() and (reward == 2).all() and not (terminal | truncate).any()
        state, _, terminal, truncate, _ = env.step(action)
        assert not state.any() and truncate.all() and not terminal.any()
    with build_env(args.eval_env_func, args.eval_env_args) as one:
        assert isinstance(one, ElegantRLEnv) and one.max_step == args.target_step == 1000
        assert one.reset()[0].shape == (60,)
        assert one.step(np.zeros(8, np.float32))[1:4] == (1.0, False, False)
        assert one.step(np.zeros(8, np.float32))[1:4] == (1.0, True, False)
