"""`EnvPoolEnv`: a pool as a torchrl env. Needs torch and torchrl, not gym or EnvPool: `make test-all`."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from by_hand import leaves
from envs import Counting, Faulty, Gated, Pole, Telling
from gymnasium import spaces
from plain_envs import ECHOED, Echo

from envpool_protocol.errors import (
    ActionError,
    ConfigError,
    EnvError,
    PendingCallError,
    PoolClosedError,
    PoolTimeout,
    SpecError,
)

pytestmark = pytest.mark.integration

NUM_ENVS = 3


@pytest.fixture(scope="module")
def integration() -> Any:
    with warnings.catch_warnings():  # what torchrl says while it is imported is not ours
        warnings.simplefilter("ignore")
        pytest.importorskip("torchrl.collectors", exc_type=ImportError)
        import envpool_wrap.integrations.torchrl as integration
    return integration


@pytest.fixture
def make_env(integration: Any) -> Iterator[Callable[..., Any]]:
    """`make_env(pool_or_task_id, **config)`: an EnvPoolEnv that is closed after the test."""
    made: list[Any] = []

    def make(pool_or_task_id: Any, **config: Any) -> Any:
        if isinstance(pool_or_task_id, str):
            config = {"num_envs": NUM_ENVS, "backend": "inline", **config}
        made.append(integration.EnvPoolEnv(pool_or_task_id, **config))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.fixture
def env(make_env: Any, task_id: Any) -> Callable[..., Any]:
    """`env(cls, **config)`: an EnvPoolEnv of an env with hooks."""
    return lambda cls, **config: make_env(task_id(cls), **config)


# Specs


@pytest.mark.parametrize("cls", [Counting, Gated, Pole, Telling], ids=lambda cls: cls.__name__)
def test_specs_do_not_fit_the_data(cls: type, env: Any) -> None:
    from torchrl.envs.utils import check_env_specs

    made = env(cls)
    check_env_specs(made, break_when_any_done="both")
    check_env_specs(made, seed=3)
    assert made.batch_size == (NUM_ENVS,)


def test_specs_do_not_fit_nested_data(make_env: Any, echo_task: Any) -> None:
    from torchrl.envs.utils import check_env_specs

    made = make_env(echo_task(ECHOED))
    check_env_specs(made)
    step = made.rand_step(made.reset())
    assert set(made.full_action_spec.keys(True, True)) == {("action", *key) for key in NESTED_KEYS}
    for key in NESTED_KEYS:  # it echoes: the action, start of a Discrete included, is the next observation
        assert (step["action"][key] == step["next", *key]).all()


NESTED_KEYS = [("arm", "0"), ("arm", "1", "grip"), ("arm", "1", "on"), ("camera",), ("wheels",)]


def test_a_space_that_is_no_dict_is_at_the_root(make_env: Any, echo_task: Any) -> None:
    made = make_env(echo_task(spaces.Tuple([spaces.Discrete(3, start=5), spaces.Box(-1, 1, (2,))])))
    step = made.rand_step(made.reset())
    assert step["observation", "0"].shape == (NUM_ENVS,)
    assert (step["next", "observation", "0"] == step["action", "0"]).all()
    assert (step["action", "0"] < 3).all()


def test_rewards_are_not_those_of_torchrls_gym_envs(make_env: Any, pool_of: Any) -> None:
    import torch

    made = make_env(pool_of("CartPole-v1", num_envs=2, autoreset_mode="disabled"))
    assert made.pool.reset() and made.pool.step(np.array([0, 1]))[1].dtype == np.float64
    assert made.rand_step()["next", "reward"].dtype == torch.float32
    assert made.reward_spec.shape == (2, 1)


# Episodes


def by_hand(env: Any, seed: int, row: Any, max_steps: int | None = None) -> int:
    """Step the plain env with the actions of one row of a rollout, and compare all. The number of ends."""
    ends, t = 0, 0
    obs, _ = env.reset(seed=seed)
    for step in row.unbind(0):
        assert_same_obs(step, obs)
        assert not step["done"].any()
        obs, reward, terminated, truncated, _ = env.step(step["action"].numpy()[()])
        t += 1
        truncated = truncated or t == max_steps
        assert_same_obs(step["next"], obs)
        assert step["next", "reward"].item() == np.float32(reward)
        flags = {"terminated": terminated, "truncated": truncated, "done": terminated or truncated}
        for key, flag in flags.items():
            assert step["next", key].item() == flag, (t, key)
        if terminated or truncated:
            ends, t = ends + 1, 0
            obs, _ = env.reset()
    return ends


def assert_same_obs(step: Any, obs: Any) -> None:
    assert step["observation"].numpy().tobytes() == np.asarray(obs).tobytes()


@pytest.mark.parametrize("backend", ["inline", "process"])
@pytest.mark.parametrize("env_type", ["gym", "gymnasium"])
def test_a_rollout_is_not_that_of_the_plain_env(
    env_type: str, backend: str, make_env: Any, pool_of: Any
) -> None:
    config = {"num_envs": NUM_ENVS, "seed": 7, "max_episode_steps": 25, "autoreset_mode": "disabled"}
    made = make_env(pool_of("CartPole-v1", env_type=env_type, backend=backend, **config))
    rollout = made.rollout(80, break_when_any_done=False)
    ends = [
        by_hand(gymnasium.make("CartPole-v1"), 7 + row, rollout[row], max_steps=25) for row in range(NUM_ENVS)
    ]
    assert min(ends) > 1
    assert rollout["next", "truncated"].any() and rollout["next", "terminated"].any()


@pytest.mark.parametrize("cut", [False, True])
def test_a_nested_observation_is_not_that_of_the_plain_env(cut: bool, make_env: Any, pool_of: Any) -> None:
    pool = pool_of(Echo, num_envs=2, seed=7, autoreset_mode="disabled", env_kwargs={"cut": cut})
    rollout = make_env(pool).rollout(8, break_when_any_done=False)
    for row in range(2):
        plain = Echo(cut=cut)
        obs, _ = plain.reset(seed=7 + row)
        for step in rollout[row].unbind(0):
            assert_same_echo(step, obs)
            obs, _, terminated, truncated, _ = plain.step(_action(step["action"]))
            assert_same_echo(step["next"], obs)
            assert (step["next", "terminated"].item(), step["next", "truncated"].item()) == (
                terminated,
                truncated,
            )
            if terminated or truncated:
                obs, _ = plain.reset()
    assert rollout["next", "truncated" if cut else "terminated"].sum() == 4


def _action(td: Any) -> Any:
    arm = (
        td["arm", "0"].numpy()[0],
        {"grip": td["arm", "1", "grip"].item() - 1, "on": td["arm", "1", "on"].numpy()},
    )
    return {"arm": arm, "camera": td["camera"].numpy(), "wheels": td["wheels"].numpy()}


def assert_same_echo(td: Any, obs: Any) -> None:
    found = [td["t"].numpy(), *leaves(_action(td["echo"]))]
    for one, two in zip(found, leaves(obs), strict=True):
        assert np.array_equal(one, two)


def test_a_reset_reaches_an_env_that_goes_on(env: Any) -> None:
    made = env(Counting)
    rollout = made.rollout(12, break_when_any_done=False)
    for row, (called, t) in enumerate(
        zip(made.pool.get_attr("called"), rollout["observation"][..., 1], strict=True)
    ):
        length = 2 + row
        assert called.count("reset") == 12 // length + (12 % length > 0)
        assert called.count("step") == 12
        assert t.tolist() == [step % length for step in range(12)]


def test_a_partial_reset_loses_the_other_rows(env: Any) -> None:
    import torch

    made = env(Counting)
    step = made.rand_step(made.reset())
    root = made.step_mdp(step)
    root["_reset"] = torch.tensor([[False], [True], [False]])
    root = made.reset(root)
    assert root["observation"][:, 1].tolist() == [1, 0, 1]
    assert step["next", "observation"][:, 1].tolist() == [1, 1, 1]
    root["_reset"] = torch.zeros(3, 1, dtype=torch.bool)
    assert made.reset(root)["observation"][:, 1].tolist() == [1, 0, 1]


def test_a_partial_step_loses_the_other_rows(env: Any) -> None:
    import torch

    made = env(Counting)
    root = made.step_mdp(made.rand_step(made.reset()))
    root["_step"] = torch.tensor([True, False, True])
    step = made.rand_step(root)["next"]
    assert step["observation"][:, 1].tolist() == [2, 1, 2]
    assert step["reward"].flatten().tolist() == [20, 0, 22]
    assert step["done"].flatten().tolist() == [True, False, False]


def test_an_env_that_ended_is_stepped_where_torchrl_waits_for_all(env: Any) -> None:
    made = env(Counting)
    rollout = made.rollout(12, break_when_any_done=False, break_when_all_done=True)
    assert rollout.shape == (NUM_ENVS, 4)  # env i ends after 2 + i steps
    assert made.pool.stats()["steps"] == [2, 3, 4]
    assert rollout["next", "observation"][..., 1].tolist() == [[1, 2, 2, 2], [1, 2, 3, 3], [1, 2, 3, 4]]


def test_options_of_a_reset_are_lost(env: Any) -> None:
    made = env(Faulty)
    made.reset(options={"level": 4})
    assert made.pool.get_attr("options") == [{"level": 4}] * NUM_ENVS


# Seeds


def test_a_seed_is_lost(make_env: Any, pool_of: Any) -> None:
    config = {"num_envs": NUM_ENVS, "autoreset_mode": "disabled"}
    made = make_env(pool_of("CartPole-v1", seed=1, **config))
    made.set_seed(7)
    again = make_env(pool_of("CartPole-v1", seed=7, **config))
    assert made.reset()["observation"].equal(again.reset()["observation"])
    assert made.reset()["observation"].equal(again.reset()["observation"])  # a seed counts for one reset
    for seeded in (made, again):
        seeded.set_seed(3)
    assert made.reset()["observation"].equal(again.reset()["observation"])
    assert made.set_seed(None) is None


def test_a_seed_reaches_only_the_envs_of_the_next_reset(env: Any) -> None:
    import torch
    from tensordict import TensorDict

    made = env(Faulty)
    made.reset()
    made.set_seed(10)
    done = torch.zeros(3, 1, dtype=torch.bool)
    flags = {"done": done, "terminated": done, "truncated": done}
    made.reset(TensorDict({"_reset": torch.tensor([[False], [True], [False]]), **flags}, [3]))
    assert [seeds[1:] for seeds in made.pool.get_attr("seeds")] == [[], [11], []]
    made.reset()
    assert [seeds[1:] for seeds in made.pool.get_attr("seeds")] == [[10], [11], [12]]


def test_a_reset_that_is_refused_takes_the_seed_with_it(env: Any) -> None:
    made = env(Counting)
    made.set_seed(7)
    with pytest.raises(ActionError, match="takes no options"):
        made.reset(options={"level": 4})
    made.pool.reset = lambda ids, seed, options: seeds.append(seed) or reset(ids, seed=seed, options=options)
    seeds: list[Any] = []
    reset = type(made.pool).reset.__get__(made.pool)
    made.reset()
    made.reset()
    assert seeds == [{0: 7, 1: 8, 2: 9}, None]


# Tensors


def test_a_tensor_is_a_copy_or_is_overwritten(make_env: Any, make: Any) -> None:
    pool = make(Counting, num_envs=NUM_ENVS, autoreset_mode="disabled")
    made = make_env(pool)
    arrays: list[Any] = []
    step = pool.step
    pool.step = lambda *args: arrays.append(step(*args)) or arrays[-1]
    root = made.reset()
    kept = []
    for _ in range(2):
        data, root = made.step_and_maybe_reset(made.rand_action(root))
        kept.append((data["next", "observation"], data["next", "observation"].clone()))
    assert all(
        np.shares_memory(one.numpy(), result[0]) for (one, _), result in zip(kept, arrays, strict=True)
    )
    made.rollout(50, break_when_any_done=False)
    assert all(one.equal(two) for one, two in kept)


def test_a_device_is_forgotten(env: Any) -> None:
    import torch

    made = env(Telling, device="cpu")
    rollout = made.rollout(4, break_when_any_done=False)
    assert rollout.device == made.device == made.observation_spec.device == torch.device("cpu")
    assert env(Telling).rollout(2).device is None


def test_data_stays_on_the_cpu(env: Any) -> None:
    import torch
    from torchrl.envs.utils import check_env_specs

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    made = env(Counting, device="cuda")
    check_env_specs(made, break_when_any_done="both")
    rollout = made.rollout(12, break_when_any_done=False)
    assert rollout["next", "observation"].device.type == rollout["action"].device.type == "cuda"
    assert rollout["observation"][2, :, 1].tolist() == [step % 4 for step in range(12)]


# Info


def test_declared_info_is_lost(env: Any) -> None:
    made = env(Telling)
    made.reset()
    made.pool.set_attr(
        "tell", {"score": 2.5, "arm": {"joints": np.array([1, -1], np.float32)}, "mission": "go"}
    )
    step = made.rand_step()
    assert step["next", "info", "score"].flatten().tolist() == [2.5] * NUM_ENVS
    assert step["next", "info", "arm", "joints"].tolist() == [[1, -1]] * NUM_ENVS
    assert set(step["next", "info"].keys(True, True)) == {"score", "won", ("arm", "joints"), ("arm", "on")}
    root = made.step_mdp(step)
    assert root["info", "score"].flatten().tolist() == [2.5] * NUM_ENVS


class Masked(gymnasium.Env[Any, Any]):
    """Allows two actions out of four: those at t and t + 1. Any other is an error."""

    observation_space = spaces.Box(0, 100, (1,), np.float32)
    action_space = spaces.Discrete(4)
    info_space = spaces.Dict(action_mask=spaces.Box(0, 1, (4,), bool))

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.t = 0
        return self._obs(), self._info()

    def step(self, action: Any) -> Any:
        if not self._info()["action_mask"][action]:
            raise ValueError(f"action {action} at {self.t}")
        self.t += 1
        return self._obs(), 1.0, self.t == 5, False, self._info()

    def _obs(self) -> Any:
        return np.array([self.t], np.float32)

    def _info(self) -> dict[str, Any]:
        return {"action_mask": np.isin(np.arange(4), [self.t % 4, (self.t + 1) % 4])}


def test_an_action_mask_is_of_another_step(make_env: Any, pool_of: Any) -> None:
    from torchrl.envs import ActionMask, TransformedEnv

    made = make_env(pool_of(Masked, num_envs=NUM_ENVS, autoreset_mode="disabled"))
    masked = TransformedEnv(made, ActionMask(mask_key=("info", "action_mask")))
    rollout = masked.rollout(20, break_when_any_done=False)
    assert rollout["next", "done"].sum() == 4 * NUM_ENVS


# With the rest of torchrl


def test_a_collector_counts_otherwise(env: Any) -> None:
    from torchrl.collectors import Collector
    from torchrl.envs import Compose, RewardSum, StepCounter, TransformedEnv
    from torchrl.envs.utils import check_env_specs

    transformed = TransformedEnv(env(Counting), Compose(RewardSum(), StepCounter()))
    check_env_specs(transformed)
    collector = Collector(transformed, None, frames_per_batch=5 * NUM_ENVS, total_frames=20 * NUM_ENVS)
    batches = [batch.clone() for batch in collector]
    collector.shutdown()
    assert [batch.shape for batch in batches] == [(NUM_ENVS, 5)] * 4
    for row in range(NUM_ENVS):
        steps = [step for batch in batches for step in batch[row].unbind(0)]
        length = 2 + row
        returns = np.cumsum([10 * t + row for t in range(1, length + 1)])
        for at, step in enumerate(steps):  # across the batches, too
            t = at % length
            assert step["observation"][1] == t and step["next", "observation"][1] == t + 1
            assert step["next", "step_count"] == t + 1
            assert step["next", "episode_reward"] == returns[t]
            assert step["next", "done"].item() == (t + 1 == length)
    with pytest.raises(PoolClosedError):
        transformed.base_env.pool.reset()


@pytest.mark.slow
def test_an_asynchronous_collector_cannot_make_one(integration: Any, task_id: Any) -> None:
    from torchrl.collectors import MultiAsyncCollector

    make_one = partial(integration.EnvPoolEnv, task_id(Counting), num_envs=2, backend="inline")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collector = MultiAsyncCollector([make_one], frames_per_batch=8, total_frames=16)
        batches = [batch.clone() for batch in collector]
        collector.shutdown()
    assert [batch.shape for batch in batches] == [(2, 4)] * 2
    assert batches[0]["observation"][0, :, 1].tolist() == [0, 1, 0, 1]


def test_a_machine_without_gym_and_envpool_cannot_use_it(integration: Any, task_id: Any) -> None:
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
sys.modules.update(gym=None, envpool=None, treevalue=None)
from envpool_wrap.integrations.torchrl import EnvPoolEnv
env = EnvPoolEnv({task_id(Counting)!r}, num_envs=2, backend="inline")
print(*env.rollout(6, break_when_any_done=False).shape)
env.close()
"""
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tests, timeout=100
    )
    assert (done.returncode, done.stdout) == (0, "2 6\n"), done.stderr


# Failures


def test_an_error_of_an_env_is_lost_or_ends_all(env: Any) -> None:
    made = env(Faulty, env_kwargs=[{}, {"fail_in": "_step_envpool", "fail_at": 2}, {}])
    with pytest.raises(EnvError, match="env 1: _step_envpool raised ValueError: env 1 says no"):
        made.rollout(5)
    assert made.rollout(1)["observation"].tolist() == [[[0, 0]], [[1, 0]], [[2, 0]]]


def test_an_env_that_is_built_again_ends_no_episode(env: Any) -> None:
    failing = {"fail_in": "_step_envpool", "fail_at": 2}
    made = env(Faulty, env_kwargs=[{}, failing, {}], on_error="restart")
    rollout = made.rollout(5, break_when_any_done=False)
    assert rollout["next", "truncated"][1].flatten().tolist() == [False, True, False, True, False]
    assert rollout["observation"][1, :, 1].tolist() == [0, 1, 0, 1, 0]


def test_a_timeout_leaves_nothing_but_a_new_env(env: Any) -> None:
    import torch

    Gated.shut(0)
    made = env(Gated, backend="thread", caller_steps=False, timeout=0.2)
    root = made.rand_action(made.reset())
    with pytest.raises(PoolTimeout):
        made.step(root)
    some = root.set("_reset", torch.tensor([[False], [True], [False]]))
    with pytest.raises(PendingCallError):
        made.reset(some)  # of the others, a step would be lost
    Gated.open(0)
    assert made.reset()["observation"][:, 1].tolist() == [0, 0, 0]
    assert made.rand_step()["next", "observation"][:, 1].tolist() == [1, 1, 1]


def test_close_leaves_the_pool_open(env: Any, journal: Any) -> None:
    made = env(Counting, env_kwargs={"closes": journal})
    assert not made.is_closed
    made.close()
    assert sorted(journal.ids) == list(range(NUM_ENVS)) and made.is_closed
    made.close()
    with pytest.raises(PoolClosedError):
        made.reset()


def test_an_action_that_does_not_fit_is_sent(env: Any) -> None:
    import torch

    made = env(Gated)
    root = made.reset()
    with pytest.raises(KeyError, match="action"):
        made.step(root.copy())
    one_hot = torch.nn.functional.one_hot(torch.zeros(NUM_ENVS, dtype=torch.int64), 5)
    for wrong in (one_hot, torch.full((NUM_ENVS,), 5), torch.zeros(NUM_ENVS)):
        with pytest.raises(ActionError):
            made.step(root.copy().set("action", wrong))
    made.rand_step(root)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"batch_size": 2}, "batch_size=2 of 3 envs: .* leave batch_size out.* MultiAsyncCollector"),
        ({"autoreset_mode": "next_step"}, "autoreset_mode='next_step': torchrl resets envs itself"),
        ({"infos": "list"}, "infos='list' .* infos='auto' or 'none'"),
        ({"num_env": 2}, "Nearest: 'num_envs'"),
        ({"device": "gpu"}, "device='gpu': .*gpu"),
    ],
)
def test_a_setting_that_does_not_go_is_taken_or_leaves_a_pool_open(
    config: dict[str, Any], message: str, env: Any, journal: Any
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        env(Counting, env_kwargs={"closes": journal}, **config)
    assert len(journal.ids) == (0 if "num_env" in config else NUM_ENVS) and raised.tb  # which holds the pool


def test_something_else_than_a_fitting_pool_is_taken(make_env: Any, make: Any, monkeypatch: Any) -> None:
    from simulators import Points

    from envpool_wrap import registry
    from envpool_wrap.integrations.batched import BatchedPool

    with pytest.raises(ConfigError, match="autoreset_mode='next_step'"):
        make_env(make(Counting))
    with pytest.raises(ConfigError, match=r"expected a task id, or a pool .* 'gym' or 'gymnasium'"):
        make_env(make(Counting, "dm", autoreset_mode="disabled"))
    points = BatchedPool(Points())
    monkeypatch.setattr(registry, "MAKERS", {"Points": lambda env_type, config: points})
    for simulator in (points, "Points"):
        with pytest.raises(ConfigError, match="simulator that is batched already, there is BatchedPoolEnv"):
            make_env(simulator)
    with pytest.raises(ConfigError, match="num_envs, seed beside a pool"):
        make_env(make(Counting, autoreset_mode="disabled"), num_envs=2, seed=3)
    with pytest.raises(ConfigError, match=r"of <TimeLimit.*expected a task id"):
        make_env(gymnasium.make("CartPole-v1"))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Dict(say=spaces.Text(4)), r"obs\.say: no tensor holds a Text"),
        (spaces.Dict(reward=spaces.Discrete(2)), r"obs\.reward: torchrl keeps something else"),
    ],
    ids=["text", "taken"],
)
def test_a_space_that_does_not_go_is_taken(space: Any, message: str, make_env: Any, pool_of: Any) -> None:
    class Odd(Masked):
        observation_space = space

        def _obs(self) -> Any:
            return space.sample()

    with pytest.raises(SpecError, match=message):
        make_env(pool_of(Odd, autoreset_mode="disabled"))
