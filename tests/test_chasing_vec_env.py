"""`examples/chasing_vec_env.py`: recorded numbers, rewards that are true, and no value read by the host.

Needs torch: `make test-all`. The tests of a GPU are skipped where there is none; on a machine that has one,
`pytest tests/test_chasing_vec_env.py -m integration` runs them.
"""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from envpool_wrap.integrations.elegantrl import ElegantRLVecEnv, build_env, from_elegantrl  # noqa: E402

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ACTIONS = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.3, 0.4], [0.0, 0.0]])
DEVICES = [
    pytest.param(-1, id="cpu"),
    pytest.param(
        0,
        id="cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    ),
]


@pytest.fixture
def chasing(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("chasing_vec_env").ChasingVecEnv


def strength(action: Any) -> Any:
    return action.norm(dim=1).clamp(min=1)


def distance(state: Any) -> Any:
    runner, _, chaser, _ = state.chunk(4, dim=1)
    return (runner - chaser).norm(dim=1)


def test_transcript(chasing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **options: torch.zeros(shape))  # runners stay
    draws = torch.Generator().manual_seed(0)
    starts = [torch.randn(2, generator=draws) for _ in range(12)]  # runner, chaser, runner, ...
    env = chasing(dim=2, env_num=4, device_id=-1)
    env.reset()
    env.p0s, env.v0s, env.v1s = (torch.zeros(4, 2) for _ in range(3))
    env.p1s = torch.tensor([[-2.005, 0], [-2.02, 0], [-8, -8], [-8, -8]])
    env.steps = torch.tensor([0, 0, 0, 1022])

    def step() -> tuple[Any, ...]:
        _, reward, terminal, truncate, info = env.step(ACTIONS)
        return reward, terminal.tolist(), truncate.tolist(), info

    def close_to(*numbers: float) -> Any:
        return pytest.approx(numbers, abs=2e-5)

    no = [False] * 4
    reward, terminal, truncate, info = step()
    assert reward.tolist() == close_to(-0.094016, -0.01, -0.01505, -0.02)
    assert terminal == [True, False, False, False] and truncate == no
    assert env.steps.tolist() == [0, 1, 1, 1023]
    assert info["_final_obs"].tolist() == terminal
    assert info["final_obs"][0].tolist() == close_to(0, 0, 0, 0, -1.999, 0.008, 0.6, 0.8)

    env.p0s[0], env.p1s[0] = starts[8], starts[9] - 8  # where the recorded one began
    reward, terminal, truncate, _ = step()
    assert reward.tolist() == close_to(-0.090017, -0.0025, -0.011338, -0.02)
    assert terminal == [False, True, False, False] and truncate == [False, False, False, True]

    env.p0s[1], env.p1s[1] = starts[10], starts[11] - 8
    reward, terminal, truncate, _ = step()
    assert reward[1:].tolist() == close_to(-0.0135, -0.008554, -0.02)
    assert terminal == truncate == no


@pytest.mark.parametrize("device_id", DEVICES)
def test_every_reward_is_of_the_episode_that_goes_on(device_id: int, chasing: Any) -> None:
    env = chasing(env_num=64, device_id=device_id, max_step=40, seed=1)
    state, _ = env.reset()
    assert distance(state).mean().item() == pytest.approx(8 * 2**0.5, abs=1)
    seen = Counter[str]()
    for _ in range(400):
        runner, _, chaser, _ = state.chunk(4, dim=1)
        action = 3 * (runner - chaser)
        before = distance(state)
        state, reward, terminal, truncate, info = env.step(action)
        last, ended = info["final_obs"], info["_final_obs"]
        assert torch.equal(ended, terminal | truncate) and not (terminal & truncate).any()
        assert torch.allclose(reward, before - distance(last) - 0.02 * strength(action), atol=1e-5)
        assert torch.equal(terminal, distance(last) < 2)
        assert torch.equal(state[~ended], last[~ended])
        assert not state[ended][:, [2, 3, 6, 7]].any() and (distance(state)[ended] > 2).all()
        seen += Counter(terminal=int(terminal.sum()), truncate=int(truncate.sum()))
        env.steps[:8] = 0  # these have the time to arrive
    assert seen["terminal"] > 0 and seen["truncate"] > 0


def test_dtypes_and_fresh_tensors(chasing: Any) -> None:
    env = chasing(dim=3, env_num=5, device_id=-1)
    state, info = env.reset()
    assert (state.dtype, tuple(state.shape), info) == (torch.float32, (5, 12), {})
    kept = state.clone()
    next_state, reward, terminal, truncate, info = env.step(torch.zeros(5, 3))
    assert [one.dtype for one in (next_state, reward)] == [torch.float32] * 2
    assert [one.dtype for one in (terminal, truncate, info["_final_obs"])] == [torch.bool] * 3
    assert [tuple(one.shape) for one in (reward, terminal, truncate)] == [(5,)] * 3
    assert torch.equal(state, kept) and next_state.data_ptr() != state.data_ptr()
    with pytest.raises(ValueError, match=r"action: expected shape \(5, 3\), found \(3,\)"):
        env.step(torch.zeros(3))


@pytest.mark.parametrize("device_id", DEVICES)
def test_seeds_and_nobody_elses_generator(device_id: int, chasing: Any) -> None:
    def states(env: Any) -> Any:
        return torch.stack([env.reset()[0], *(env.step(ACTIONS.to(env.device))[0] for _ in range(5))])

    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, same, other, fresh = (
        chasing(env_num=4, device_id=device_id, seed=seed) for seed in (1, 1, 2, None)
    )
    shown = states(first)
    assert torch.equal(shown, states(same))
    assert not torch.equal(shown, states(other)) and not torch.equal(shown, states(fresh))
    assert torch.equal(first.reset(seed=9)[0], other.reset(seed=9)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_no_gpu_where_there_is_none(chasing: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(RuntimeError, match=r"device_id=0: there is no CUDA device here; -1 is the CPU"):
        chasing()


def test_a_vector_env(chasing: Any) -> None:
    env = chasing(env_num=3, device_id=-1)
    assert isinstance(env, VectorEnv) and from_elegantrl(env) is env
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    state, _ = env.reset(seed=1, options={})
    assert env.observation_space.contains(state.numpy()) and env.action_space.shape == (3, 2)
    env.step(torch.from_numpy(env.action_space.sample()))
    env.close()


@pytest.fixture(params=["itself", "BatchedPool"])
def pooled(request: pytest.FixtureRequest) -> Any:
    """The env itself, and a pool around it."""
    if request.param == "itself":
        return lambda env: env
    return pytest.importorskip("envpool_wrap.integrations.batched", exc_type=ImportError).BatchedPool


@pytest.mark.parametrize("device_id", DEVICES)
def test_elegantrls_face_in_lockstep_with_the_bare_env(device_id: int, pooled: Any, chasing: Any) -> None:
    bare, inner = (chasing(env_num=16, device_id=device_id, max_step=30, seed=5) for _ in range(2))
    env = ElegantRLVecEnv(pooled(inner), device=bare.device)
    shown: list[Any] = []
    state_of = inner._state
    inner._state = lambda: shown.append(state_of()) or shown[-1]
    assert torch.equal(env.reset(seed=5)[0], bare.reset(seed=5)[0])
    for _ in range(100):
        action = torch.randn(16, 2).to(bare.device)
        mine, theirs = env.step(action), bare.step(action)
        for one, other in zip(mine[:4], theirs[:4], strict=True):
            assert torch.equal(one, other) and one.dtype == other.dtype
        assert mine[0].data_ptr() == shown[-1].data_ptr(), "states are copied"
        ended = theirs[4]["_final_obs"]
        assert torch.equal(mine[4]["_final_obs"], ended)
        assert torch.equal(mine[4]["final_obs"][ended], theirs[4]["final_obs"][ended])


def test_what_the_bare_env_has_besides_is_read_through_elegantrls_face(pooled: Any, chasing: Any) -> None:
    env = ElegantRLVecEnv(pooled(chasing(dim=3, env_num=4, device_id=-1)))
    assert (env.dim, env.target_return) == (3, 6.3)


def test_build_env_makes_as_many_as_asked_for(chasing: Any) -> None:
    args = {"env_name": "ChasingVecEnv", "num_envs": 8, "state_dim": 8, "max_step": 50}
    with build_env(chasing, args) as env:
        assert (env.num_envs, env.max_step, env.pool.max_step) == (8, 50, 50)
        assert env.device == torch.device("cpu") and env.pool.env_num == 8
        state, _ = env.reset()
        assert state.shape == (8, 8)


# ---- what the host reads ----

READS = ["_local_scalar_dense", "is_nonzero", "nonzero", "equal", "index", "index_put_", "masked_select"]


class HostReads(TorchDispatchMode):
    """Counts operations that wait for a value on the device, or whose result's shape depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        across = name == "_to_copy" and "device" in (kwargs or {})
        self.seen[name] += name in READS or across
        return func(*args, **(kwargs or {}))


def test_reads_are_counted() -> None:
    with HostReads() as reads:
        ones = torch.ones(3)
        bool(ones[0]), ones.sum().item(), ones[ones > 0], torch.equal(ones, ones)
    assert reads.seen.total() >= 4


def assert_nothing_is_read(env: Any, steps: int = 100) -> None:
    env.reset()
    with HostReads() as reads:
        for _ in range(steps):
            env.step(torch.zeros(16, 2))
    assert reads.seen.total() == 0, reads.seen


def test_a_step_reads_no_value(chasing: Any, pooled: Any) -> None:
    env = chasing(env_num=16, device_id=-1, max_step=20, seed=0)
    assert_nothing_is_read(env)
    assert_nothing_is_read(ElegantRLVecEnv(pooled(env)))


def test_a_step_of_an_env_of_the_old_kind_reads_no_value(chasing: Any, pooled: Any) -> None:
    class Old:
        """Four values from `step`, `done` a float."""

        def __init__(self, env: Any) -> None:
            self.env = env

        def reset(self) -> Any:
            return self.env.reset()[0]

        def step(self, action: Any) -> Any:
            state, reward, terminal, truncate, _ = self.env.step(action)
            done = (terminal | truncate).to(torch.float32)
            return state, reward, done, {"time_outs": truncate.to(torch.int64)}

        def __getattr__(self, name: str) -> Any:
            return getattr(self.env, name)

    env = from_elegantrl(Old(chasing(env_num=16, device_id=-1, max_step=20, seed=0)))
    assert type(env).__name__ == "ElegantRLBatch"
    assert_nothing_is_read(env)
    assert_nothing_is_read(ElegantRLVecEnv(pooled(env)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("face", [lambda env: env, ElegantRLVecEnv], ids=["bare", "ElegantRLVecEnv"])
def test_a_step_does_not_wait_for_the_gpu(face: Any, chasing: Any) -> None:
    env = face(chasing(env_num=4096, device_id=0, max_step=20, seed=0))
    env.reset()
    action = torch.zeros(4096, 2, device=env.device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(100):
            env.step(action)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_example_itself(chasing: Any, capsys: pytest.CaptureFixture[str], one_torch_thread: None) -> None:
    importlib.import_module("chasing_vec_env").main(steps=5)
    assert "4096 envs on " in capsys.readouterr().out


def test_states_are_finite(chasing: Any) -> None:
    env = chasing(env_num=8, device_id=-1, seed=0)
    for _ in range(20):
        state, *_ = env.step(torch.zeros(8, 2))
    assert np.isfinite(state.numpy()).all()
