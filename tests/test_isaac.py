"""Isaac Gym's tasks as vector envs, by a stand-in with their contract; Isaac Gym itself is on no index."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from simulators import FakeVecTask, lists

from envpool_protocol.errors import ConfigError, SpecError
from envpool_wrap.integrations.batched import BatchedPool
from envpool_wrap.integrations.isaac import IsaacOneEnv, IsaacVecEnv, PreprocessIsaacVecEnv, from_isaac_gym

needs_torch = pytest.mark.integration
tasks: list[FakeVecTask] = []  # that the stand-in made


# ---- without Isaac Gym ----


@pytest.mark.parametrize("name", [IsaacVecEnv, PreprocessIsaacVecEnv, IsaacOneEnv])
def test_a_machine_without_isaac_gym_is_not_told_where_it_is(name: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "isaacgym", None)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(
        ImportError, match=r"https://developer\.nvidia\.com/isaac-gym.*IsaacGymEnvs"
    ) as caught:
        name("Ant")
    assert caught.value.name == "isaacgym" and "before torch" not in str(caught.value)


def test_torch_before_isaac_gym_is_an_error_that_says_nothing(monkeypatch: Any) -> None:
    monkeypatch.delitem(sys.modules, "isaacgym", raising=False)
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    with pytest.raises(ImportError, match="before torch"):
        IsaacVecEnv("Ant")


def test_what_is_no_task_is_taken() -> None:
    with pytest.raises(SpecError, match="int has no num_envs, reset_buf, step: expected a task of Isaac Gym"):
        from_isaac_gym(3)
    with pytest.raises(ConfigError, match="IsaacVecEnv has several"):
        IsaacOneEnv("Ant", env_num=2)


# ---- a task ----


@needs_torch
@pytest.mark.parametrize("library", [None, "gymnasium", "gym"])
def test_spaces_are_another_librarys_or_not_found(library: str | None) -> None:
    pytest.importorskip("torch")
    spaces = None if library is None else pytest.importorskip(library).spaces
    venv = from_isaac_gym(FakeVecTask(spaces=spaces))
    assert venv.single_observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert venv.single_action_space == gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    assert venv.action_space.shape == (4, 1)
    task = FakeVecTask()
    del task.num_obs
    with pytest.raises(SpecError, match="neither observation_space nor num_obs"):
        from_isaac_gym(task)


@needs_torch
def test_what_ran_out_of_time_is_terminated_without_a_word() -> None:
    pytest.importorskip("torch")

    class Old(FakeVecTask):
        def step(self, actions: Any) -> Any:
            *answer, _ = super().step(actions)
            return *answer, {}

    venv = from_isaac_gym(Old())
    with pytest.warns(UserWarning, match=r"Old has no extras\['time_outs'\]"):
        venv.reset()


@needs_torch
def test_states_and_extras_are_lost() -> None:
    torch = pytest.importorskip("torch")

    class Asymmetric(FakeVecTask):
        def step(self, actions: Any) -> Any:
            obs, *rest, extras = super().step(actions)
            self.states_buf = torch.flip(self.obs_buf, (1,))
            return {**obs, "states": self.states_buf}, *rest, {**extras, "successes": 3}

    task = Asymmetric()
    pool = BatchedPool(from_isaac_gym(task), array="numpy")
    pool.reset()
    obs, _, _, _, info = pool.step(np.ones((4, 1), np.float32))
    assert info["successes"] == 3
    assert isinstance(info["states"], np.ndarray) and lists(info["states"]) == lists(obs[:, ::-1])
    assert info["states"].ctypes.data == task.states_buf.data_ptr()


@needs_torch
def test_a_reset_goes_on_with_old_episodes() -> None:
    torch = pytest.importorskip("torch")
    task = FakeVecTask()
    pool = BatchedPool(from_isaac_gym(task))
    pool.reset()
    for _ in range(2):
        pool.step(torch.ones(4, 1))
    obs, info = pool.reset()
    assert lists(obs, info["elapsed_step"]) == [[[0, 0]] * 4, [0] * 4]
    assert pool.step(torch.ones(4, 1))[1].tolist() == [2] * 4
    pool.close()
    assert task.closed


@needs_torch
def test_a_seed_does_not_reach_torchs_generators() -> None:
    torch = pytest.importorskip("torch")

    class Random(FakeVecTask):
        def step(self, actions: Any) -> Any:
            self.drawn = torch.rand(3)
            return super().step(actions)

    task = Random()
    pool = BatchedPool(from_isaac_gym(task))
    drawn = []
    for _ in range(2):
        pool.reset(seed=7)
        drawn.append(task.drawn)
    assert torch.equal(*drawn)


# ---- ElegantRL's names ----


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stand-ins for both packages; what their `make` is given."""
    calls: list[dict[str, Any]] = []

    def make(*, num_envs: int, **settings: Any) -> FakeVecTask:
        calls.append({"num_envs": num_envs, **settings})
        tasks.append(FakeVecTask(num_envs))
        return tasks[-1]

    monkeypatch.setitem(sys.modules, "isaacgym", ModuleType("isaacgym"))
    stand_in = ModuleType("isaacgymenvs")
    stand_in.make = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "isaacgymenvs", stand_in)
    return calls


@needs_torch
def test_arguments_are_lost_on_the_way_to_the_task(made: list[dict[str, Any]], capsys: Any) -> None:
    pytest.importorskip("torch")
    for device_id, rl_device_id, devices in (
        (0, None, ("cuda:0", "cuda:0")),
        (None, None, ("cuda:0", "cuda:0")),
        (1, -1, ("cuda:1", "cpu")),
        (-1, None, ("cpu", "cpu")),
    ):
        IsaacVecEnv("Ant", env_num=8, device_id=device_id, rl_device_id=rl_device_id, force_render=False)
        rest = {"seed": 42, "task": "Ant", "headless": True, "force_render": False, "num_envs": 8}
        assert made[-1] == {**rest, "sim_device": devices[0], "rl_device": devices[1]}
    assert capsys.readouterr().out == ""
    IsaacVecEnv("Ant", if_print=True)
    assert "IsaacVecEnv(IsaacGymVectorEnv, num_envs=32" in capsys.readouterr().out


@needs_torch
def test_a_task_that_is_not_as_expected_is_taken(made: list[dict[str, Any]]) -> None:
    pytest.importorskip("torch")
    IsaacVecEnv("Ant", state_dim=2, action_dim=1, if_discrete=False)
    for expected in ({"state_dim": 60}, {"action_dim": 8}, {"if_discrete": True}):
        (name,) = expected
        with pytest.raises(SpecError, match=f"Ant: {name} is .* and {expected[name]} was expected"):
            IsaacVecEnv("Ant", **expected)
        assert tasks[-1].closed
    with pytest.raises(ConfigError, match="copy=2"):
        IsaacVecEnv("Ant", copy=2)  # type: ignore[arg-type]
    assert tasks[-1].closed, "there can be one simulator in a process"


@needs_torch
def test_one_env_is_a_batch_or_keeps_what_the_simulator_writes_again(made: list[dict[str, Any]]) -> None:
    pytest.importorskip("torch")
    env = IsaacOneEnv("Ant", device_id=-1)
    first, _ = env.reset(seed=1)
    state, *rest, _ = env.step(np.ones(1, np.float64))
    assert (first.tolist(), state.tolist(), rest) == ([0, 0], [1, 1], [2.0, True, False])
    assert [type(one) for one in rest] == [float, bool, bool] and type(state) is np.ndarray
    assert (env.state_dim, env.action_dim, env.max_step, env.env_num) == (2, 1, 5, 1)
    assert env.reset()[0].tolist() == [0, 0] and made[-1]["num_envs"] == 1
    env.close()
    assert env.pool.venv.task.closed
