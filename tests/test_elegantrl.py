"""ElegantRL's faces, `build_env` and `from_elegantrl`, beside recorded transcripts.

Needs the extra `elegantrl`: `make test-all`.
"""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import psutil
import pytest
from elegantrl_envs import Film, Lengths, OldLengths, Trouble
from envs import Counting, Gated, Journal, Pole
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from simulators import lists

import envpool_wrap
from envpool_protocol.errors import (
    ActionError,
    ConfigError,
    EnvError,
    PoolClosedError,
    PoolTimeout,
    ProtocolError,
    SpecError,
    UnknownEnvError,
    WorkerDied,
)

torch = pytest.importorskip("torch")

from elegantrl_batches import Batch  # noqa: E402

from envpool_wrap.integrations.elegantrl import (  # noqa: E402
    ElegantRLEnv,
    ElegantRLVecEnv,
    build_env,
    from_elegantrl,
)

pytestmark = pytest.mark.integration

ARGS = {"env_name": "Lengths", "max_step": 4, "state_dim": 4, "action_dim": 1, "if_discrete": False}
ACTIONS = torch.arange(4.0).reshape(4, 1)


@pytest.fixture
def build() -> Iterator[Any]:
    """`build_env` whose envs are closed after the test."""
    made: list[Any] = []

    def build_one(*args: Any, **config: Any) -> Any:
        made.append(build_env(*args, **config))
        return made[-1]

    yield build_one
    for env in made:
        env.close()


@pytest.fixture
def placed(backend: str) -> dict[str, Any]:
    """Settings of a pool on each backend in turn, with two workers where there can be."""
    return {"backend": backend, "num_threads": 0 if backend == "inline" else 2}


# ---- several envs ----


@pytest.mark.parametrize("cls", [Lengths, OldLengths])
def test_transcript_of_workers(cls: type, placed: dict[str, Any], build: Any) -> None:
    env = build(cls, {**ARGS, "num_envs": 4, "if_build_vec_env": True}, seed=0, **placed)
    first, _ = env.reset()
    assert lists(first) == [[[7, 0, 1, 0], [7, 0, 2, 0], [7, 0, 1, 0], [7, 0, 3, 0]]]
    no = [False] * 4
    for states, rewards, terminal in (
        (
            [[7, 0, 4, 1], [7, 1, 2, 0], [7, 0, 4, 1], [7, 1, 3, 0]],
            [1, 11, 21, 31],
            [True, False, True, False],
        ),
        (
            [[7, 1, 4, 1], [7, 0, 4, 1], [7, 1, 4, 1], [7, 2, 3, 0]],
            [1, 12, 21, 32],
            [False, True, False, False],
        ),
        (
            [[7, 2, 4, 1], [7, 1, 4, 1], [7, 2, 4, 1], [7, 0, 1, 1]],
            [2, 11, 22, 33],
            [False, False, False, True],
        ),
        (
            [[7, 3, 4, 1], [7, 2, 4, 1], [7, 3, 4, 1], [7, 0, 2, 2]],
            [3, 12, 23, 31],
            [False, False, False, True],
        ),
    ):
        state, reward, ended, cut, info = env.step(ACTIONS)
        assert lists(state, reward, ended, cut) == [states, rewards, terminal, no]
        assert [one.dtype for one in (state, reward, ended, cut)] == [torch.float32] * 2 + [torch.bool] * 2
        assert info["_final_obs"].tolist() == terminal
        for row, over in enumerate(terminal):
            last = info["final_obs"][row].tolist()
            assert (last[1] == last[2]) == over  # the last step of an episode is its length
    again, _ = env.reset()
    assert lists(again) == [[[7, 0, 2, 2], [7, 0, 1, 2], [7, 0, 2, 2], [7, 0, 4, 3]]]


def test_attributes(build: Any) -> None:
    env = build(Lengths, {**ARGS, "num_envs": 4, "target_return": 9.5})
    assert isinstance(env, ElegantRLVecEnv)
    told = {name: getattr(env, name) for name in ARGS}
    assert told == ARGS and env.num_envs == 4 and env.target_return == 9.5
    assert env.device == torch.device("cpu")


def test_more_envs_than_64_and_an_env_without_limits(build: Any) -> None:
    env = build(Lengths, {"num_envs": 100})
    assert (env.env_name, env.max_step, env.num_envs) == ("Lengths", 12345, 100)
    state, _ = env.reset()
    assert state.shape == (100, 4)


def test_tensors_share_the_memory_of_the_batch_and_stay_as_they_are(make: Any) -> None:
    pool = make(Counting, num_envs=2, autoreset_mode="same_step")
    env = ElegantRLVecEnv(pool)
    seen = []
    step = pool.step

    def watched(action: Any) -> Any:
        seen.append(step(action))
        return seen[-1]

    pool.step = watched
    env.reset()
    kept = [env.step(torch.zeros(2, 1))[0] for _ in range(6)]
    for state, result in zip(kept, seen, strict=True):
        assert state.data_ptr() == result[0].ctypes.data
    assert [state[1, 1].item() for state in kept] == [1, 2, 0, 1, 2, 0]


def test_images_stay_bytes_if_asked(build: Any) -> None:
    pool = envpool_wrap.from_env_fns([Film] * 2, "gym", autoreset_mode="same_step", backend="inline")
    with ElegantRLVecEnv(pool, dtype=None) as env:
        assert (env.state_dim, env.action_dim, env.if_discrete) == ((4, 6, 1), 3, True)
        assert env.reset()[0].dtype == torch.uint8
        state, reward, *_ = env.step(torch.tensor([0, 2]))  # of 5, 6, 7
        assert reward.tolist() == [5, 7] and state[1, 0, 0].tolist() == [7] and state.dtype == torch.uint8
        state, _, terminal, truncate, info = env.step(torch.tensor([1, 1]))
        assert truncate.all() and not terminal.any() and not state.any()
        assert info["final_obs"].dtype == torch.uint8 and (info["final_obs"] == 6).all()
    assert build(Film, {"num_envs": 2}).reset()[0].dtype == torch.float32


@pytest.mark.parametrize("env_type", ["gym", "gymnasium"])
def test_pools_of_either_face_and_gymnasiums_own_vector_env(env_type: str, make: Any) -> None:
    fns = [lambda: gymnasium.make("CartPole-v1", max_episode_steps=7)] * 3
    theirs = ElegantRLVecEnv(SyncVectorEnv(fns, autoreset_mode=AutoresetMode.SAME_STEP), env_name="CartPole")
    pool = envpool_wrap.from_env_fns(fns, env_type, autoreset_mode="same_step", backend="inline")
    with ElegantRLVecEnv(pool) as ours, theirs:
        assert (theirs.env_name, theirs.state_dim, theirs.action_dim) == ("CartPole", 4, 2)
        assert torch.equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
        for _ in range(20):
            action = torch.randint(2, (3,))
            mine, other = ours.step(action), theirs.step(action)
            for one, two in zip(mine[:4], other[:4], strict=True):
                assert torch.equal(one, two)
            assert ("final_obs" in mine[4]) == ("final_obs" in other[4])
            if "final_obs" in mine[4]:
                ended = mine[4]["_final_obs"]
                assert torch.equal(ended, other[4]["_final_obs"])
                assert torch.equal(mine[4]["final_obs"][ended], other[4]["final_obs"][ended])


def test_seeds(build: Any) -> None:
    def states(again: Any, **config: Any) -> list[Any]:
        env = build(gymnasium.make, {"env_name": "CartPole-v1", "num_envs": 3}, **config)
        env.reset(seed=again)
        return [env.step(torch.ones(3, dtype=torch.int64))[0].tolist() for _ in range(30)]

    assert states(5) == states(5, backend="thread") == states(None, seed=5) != states(6)


def test_a_task_id_and_the_limit_of_its_pool(task_id: Any) -> None:
    settings: dict[str, Any] = {"num_envs": 2, "backend": "inline"}
    with ElegantRLVecEnv(task_id(Counting), max_episode_steps=1, **settings) as env:
        assert (env.env_name, env.max_step) == ("Counting_wrap", 1)
        env.reset()
        *_, terminal, truncate, _ = env.step(torch.zeros(2, 1))
        assert truncate.all() and not terminal.any()
    with ElegantRLVecEnv(task_id(Counting), env_name="counting", max_step=9, **settings) as env:
        assert (env.env_name, env.max_step) == ("counting", 9)
    with ElegantRLEnv(task_id(Counting), backend="inline") as one:
        assert one.reset()[0].tolist() == [0, 0, 0]


def test_workers_do_not_import_torch(build: Any) -> None:
    env = build(Lengths, {**ARGS, "num_envs": 2}, backend="process", num_threads=1, caller_steps=False)
    assert env.pool.call("torch_is_imported") == [False, False]


def test_closing_closes_every_env_and_ends_its_process(placed: dict[str, Any], journal: Journal) -> None:
    children = set(psutil.Process().children())
    args = {**ARGS, "num_envs": 3, "closes": journal, "device_id": 5}
    env = build_env(Lengths, args, **placed)
    env.reset()
    before = len(journal.ids)  # of the env whose spaces were read
    env.close()
    env.close()
    assert journal.ids[before:] == [5, 5, 5] and set(psutil.Process().children()) <= children
    with pytest.raises(PoolClosedError):
        env.reset()


# ---- one env ----


def test_one_env_is_numpy_and_reset_by_whoever_steps_it(build: Any) -> None:
    env = build(OldLengths, ARGS, seed=0)
    assert isinstance(env, ElegantRLEnv) and env.num_envs == 1
    state, info = env.reset()
    assert isinstance(state, np.ndarray) and state.tolist() == [7, 0, 1, 0] and isinstance(info, dict)
    state, reward, terminal, truncate, info = env.step(np.array([2], np.float32))
    assert state.tolist() == [7, 1, 1, 0] and info["t"] == 1
    assert (reward, terminal, truncate) == (21, True, False)
    assert [type(one) for one in (reward, terminal, truncate)] == [float, bool, bool]
    with pytest.raises(ActionError, match="reset"):
        env.step(np.array([2], np.float32))
    assert env.reset()[0].tolist() == [7, 0, 4, 1]
    assert env.cumulative_returns == 21
    assert not env.torch_is_imported() or "torch" in sys.modules
    with pytest.raises(AttributeError, match="no_such_thing"):
        env.no_such_thing  # noqa: B018
    with pytest.raises(AttributeError):
        copy.copy(ElegantRLEnv.__new__(ElegantRLEnv)).pool  # noqa: B018


def test_one_env_with_actions_to_choose_from(build: Any) -> None:
    env = build(gymnasium.make, {"env_name": "CartPole-v1"})
    assert (env.state_dim, env.action_dim, env.if_discrete) == (4, 2, True)
    state, _ = env.reset(seed=1)
    assert np.array_equal(state, gymnasium.make("CartPole-v1").reset(seed=1)[0])
    assert env.step(1)[1] == env.step(np.int64(0))[1] == 1.0
    assert env.unwrapped.gravity == 9.8 and env.spec.id == "CartPole-v1"
    assert build(Film, {}).reset()[0].dtype == np.uint8
    film = build(Film, {})
    film.reset()
    assert film.step(2)[1] == 7.0


def test_one_env_as_rows(build: Any) -> None:
    env = build(Lengths, {**ARGS, "num_envs": 1, "if_build_vec_env": True})
    assert env.reset()[0].shape == (1, 4)


# ---- build_env ----


def test_what_the_caller_told_is_not_written_to(build: Any) -> None:
    for cls, told in ((Lengths, ARGS), (Batch, {"max_step": 4})):
        args = {**told, "num_envs": 2}
        build(cls, args, 0)
        assert args == {**told, "num_envs": 2}


def test_arguments_reach_gymnasiums_envs_and_classes(build: Any) -> None:
    args = {"env_name": "Pendulum-v1", "num_envs": 2, "state_dim": 3, "max_step": 200, "if_print": False}
    assert build(gymnasium.make, {**args, "g": 4.5}).pool.get_attr("g") == [4.5, 4.5]
    assert build(Lengths, {**ARGS, "num_envs": 2, "device_id": 3}).pool.get_attr("device_id") == [3, 3]
    assert build(Lengths, {**ARGS, "num_envs": 2, "device_id": None}, 4).pool.get_attr("device_id") == [4, 4]
    assert build(Counting, {"num_envs": 2, "ends_after": 1}).pool.get_attr("ends_after") == [1, 1]


def test_a_class_that_makes_a_batch_itself(build: Any) -> None:
    env = build(Batch, {"num_envs": 3, "env_name": "mine", "max_step": 7, "target_return": 2.5}, 6)
    assert (env.num_envs, env.env_name, env.max_step, env.target_return) == (3, "mine", 7, 2.5)
    batch = env.pool.env
    assert (batch.env_num, batch.device_id, batch.max_step) == (3, 6, 7)
    assert build(Batch, {"env_num": 5}).num_envs == 5 and build(Batch, {}).num_envs == 32
    assert build(Batch, {"env_num": 5, "device_id": 2}, 6).pool.env.device_id == 2


def test_what_a_batch_has_besides_is_its_own(build: Any) -> None:
    env = build(Batch, {"num_envs": 3})
    env.pool.env.cumulative_returns = torch.arange(3.0)
    assert env.cumulative_returns.tolist() == [0, 1, 2] and env.limits is env.pool.env.limits
    for one in (env, build(Lengths, {"num_envs": 3})):
        assert not hasattr(one, "no_such_thing")
    assert not hasattr(build(Lengths, {"num_envs": 3}), "cumulative_returns"), "each env has one"
    with pytest.raises(AttributeError):
        copy.copy(ElegantRLVecEnv.__new__(ElegantRLVecEnv)).pool  # noqa: B018


@pytest.mark.parametrize(
    ("env_class", "args", "message"),
    [
        (Lengths, None, "env_args=None: expected a dict"),
        (None, {}, "env_class=None: expected a class, or gymnasium.make"),
        (gymnasium.make_vec, {"env_name": "CartPole-v1"}, "expected a class, or gymnasium.make"),
        (gymnasium.make, {"num_envs": 2}, "env_args lacks 'env_name', the id that gymnasium.make is given"),
        (Lengths, {"num_envs": 0}, "num_envs=0: expected an int of at least 1"),
        (Lengths, {"num_envs": 1.5}, "num_envs=1.5: expected an int"),
        (Lengths, {"closs": 1}, "'closs' is no argument of Lengths. Nearest: 'closes'"),
        (Lengths, {**ARGS, "env_nam": 1}, "'env_nam' is no argument of Lengths. Nearest: 'env_name'"),
        (Pole, {"state_dim": 5}, "env_args: state_dim=5, but that of Pole is 4"),
        (Pole, {"if_discrete": False, "num_envs": 2}, "if_discrete=False, but that of Pole is True"),
    ],
)
def test_arguments_that_do_not_do(env_class: Any, args: Any, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        build_env(env_class, args)
    assert message in str(raised.value)


def test_missing_dimensions_are_named() -> None:
    class Bare:
        def reset(self) -> Any:
            return np.zeros(2)

        def step(self, action: Any) -> Any:
            return np.zeros(2), 0.0, False, {}

    with pytest.raises(
        ProtocolError, match=r"action_dim, if_discrete of .*Bare: expected in env_args, or as"
    ):
        build_env(Bare, {"state_dim": 2, "num_envs": 2})
    with build_env(Bare, {"state_dim": [2], "action_dim": 3, "if_discrete": True}) as env:
        env.reset()
        assert env.step(2)[0].tolist() == [0, 0]


class Silent(Lengths):
    """Has no info to tell, as some of ElegantRL's own envs."""

    def reset(self, seed: int | None = None) -> Any:
        return super().reset(seed)[0], None

    def step(self, action: Any) -> Any:
        return *super().step(action)[:4], None


def test_envs_whose_info_is_none(build: Any) -> None:
    one = build(Silent, {})
    assert one.reset()[1]["elapsed_step"] == 0 and one.step(np.zeros(1, np.float32))[4]["elapsed_step"] == 1
    several = build(Silent, {"num_envs": 2}, seed=0)
    assert lists(several.reset()[0]) == [[[7, 0, 1, 0], [7, 0, 2, 0]]]
    assert lists(several.step(torch.zeros(2, 1))[2]) == [[True, False]]


def test_batches_that_do_not_do() -> None:
    with pytest.raises(ConfigError, match="Batch makes a batch of envs itself; leave it out"):
        build_env(Batch, {"if_build_vec_env": True})
    with pytest.raises(ConfigError, match=r"settings \['seed'\]: Batch makes a batch of envs without a pool"):
        build_env(Batch, {}, seed=1)

    class Fixed(Batch):
        def __init__(self, num_envs: int) -> None:
            super().__init__(env_num=2)

        def close(self) -> None:
            closed.append(self)

    closed: list[Any] = []
    with pytest.raises(ConfigError, match=r"num_envs=3, and .*Fixed made 2 envs"):
        build_env(Fixed, {"num_envs": 3})
    assert len(closed) == 1
    with pytest.raises(ConfigError, match="action_dim=2, but that of Batch is 1"):
        build_env(Batch, {"action_dim": 2})


def test_a_gpu_that_is_not_there(build: Any) -> None:
    env = build(Lengths, {**ARGS, "num_envs": 2}, gpu_id=0)
    assert env.device == torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


# ---- what goes wrong ----


def test_an_env_that_raises(placed: dict[str, Any], build: Any) -> None:
    env = build(Trouble, {"num_envs": 3}, seed=0, **placed)
    env.reset()
    with pytest.raises(EnvError, match="env 1: step raised ValueError: a nine") as raised:
        env.step(torch.tensor([[0.0], [9.0], [0.0]]))
    state, reward, terminal, truncate, _ = raised.value.result
    assert lists(state, reward) == [[[7, 0, 4, 1], [0, 0, 0, 0], [7, 0, 4, 1]], [1, 0, 1]]
    assert lists(terminal, truncate) == [[True, False, True], [False, True, False]]
    assert env.step(torch.zeros(3, 1))[0][1].tolist()[:2] == [7, 0]


def test_a_worker_that_dies(build: Any) -> None:
    args = {"num_envs": 4, "dies": True}
    env = build(Trouble, args, seed=0, backend="process", num_threads=2, caller_steps=False, timeout=30)
    env.reset()
    with pytest.raises(WorkerDied, match=r"env 3.*SIGKILL") as raised:
        env.step(torch.tensor([[0.0], [0.0], [0.0], [9.0]]))
    state, _, _, truncate, _ = raised.value.result
    assert truncate[3] and state[0].tolist() == [7, 0, 4, 1]
    env.reset()
    assert env.step(torch.zeros(4, 1))[0].shape == (4, 4)


def test_a_timeout_leaves_nothing_but_a_new_env(make: Any) -> None:
    Gated.shut(0)
    config = {"autoreset_mode": "same_step", "backend": "thread", "caller_steps": False, "timeout": 0.2}
    env = ElegantRLVecEnv(make(Gated, num_envs=2, **config))
    env.reset()
    with pytest.raises(PoolTimeout):
        env.step(torch.zeros(2, dtype=torch.int64))
    Gated.open(0)
    assert env.reset()[0].tolist() == [[0, 0], [1, 0]]
    assert env.step(torch.zeros(2, dtype=torch.int64))[0].tolist() == [[0, 1], [1, 1]]


def test_one_env_that_raises(build: Any) -> None:
    env = build(Trouble, {})
    env.reset()
    with pytest.raises(EnvError, match="a nine") as raised:
        env.step(np.array([9.0], np.float32))
    state, reward, terminal, truncate, _ = raised.value.result
    assert (state.tolist(), reward, terminal, truncate) == ([0, 0, 0, 0], 0.0, False, True)
    env.reset()


@pytest.mark.parametrize("of_pool", [True, False], ids=["pool", "batch"])
def test_actions_that_do_not_do(of_pool: bool, build: Any) -> None:
    env = build(Lengths, {"num_envs": 2}) if of_pool else build(Batch, {"num_envs": 2})
    env.reset()
    good = torch.zeros(2, 1)
    for action, message in (
        (torch.zeros(3, 1), r"expected shape \(2, 1\), found \(3, 1\)"),
        (torch.zeros(2), r"expected shape \(2, 1\), found \(2,\)"),
        (good.to("meta"), r"actions are on meta, the envs on cpu: actions.to\(env.device\)"),
        (good.clone().requires_grad_(), r"actions require grad.*actions.detach\(\)"),
        (good[:1].numpy(), r"expected (shape \(2, 1\)|a tensor)"),
    ):
        with pytest.raises(ActionError, match=message):
            env.step(action)
    env.step(good)


def test_actions_to_choose_from_that_do_not_do(build: Any) -> None:
    env = build(gymnasium.make, {"env_name": "CartPole-v1", "num_envs": 2})
    env.reset()
    for action, message in (
        (torch.zeros(2), "torch.float32 for envs with discrete actions; expected ints"),
        (torch.tensor([0, 2]), "2"),
        (torch.zeros(2, 1, dtype=torch.int64), r"expected shape \(2,\), found \(2, 1\)"),
    ):
        with pytest.raises(ActionError, match=message):
            env.step(action)
    assert env.step(torch.tensor([0, 1], dtype=torch.int32))[1].tolist() == [1, 1]


def test_pools_that_do_not_do_are_refused_and_left_open(make: Any) -> None:
    for match, env_type, config in (
        ("asynchronous; .*make it with batch_size=0", "gym", {"batch_size": 2}),
        ("NEXT_STEP.*autoreset_mode='same_step'", "gym", {"autoreset_mode": "next_step"}),
        ("DISABLED.*autoreset_mode='same_step'", "gymnasium", {"autoreset_mode": "disabled"}),
        ("infos='list'.*make the pool with infos='auto'", "gym", {"infos": "list"}),
        ("expected a task id, a pool of the gym or gymnasium face, or a VectorEnv", "dm", {}),
    ):
        pool = make(Counting, env_type, num_envs=4, **({"autoreset_mode": "same_step"} | config))
        with pytest.raises(ConfigError, match=match):
            ElegantRLVecEnv(pool)
        pool.reset()
    for match, config in (
        ("num_envs=4.*make the pool with num_envs=1", {"num_envs": 4}),
        ("autoreset_mode='next_step'.*autoreset_mode='disabled'", {}),
        ("infos='auto'.*infos='list'", {"autoreset_mode": "disabled"}),
    ):
        with pytest.raises(ConfigError, match=match):
            ElegantRLEnv(make(Counting, **config))


def test_settings_that_do_not_do(make: Any, task_id: Any) -> None:
    pool = make(Counting, autoreset_mode="same_step")
    with pytest.raises(ConfigError, match=r"settings \['num_envs'\] for a pool that is there"):
        ElegantRLVecEnv(pool, num_envs=2)
    with pytest.raises(ConfigError, match="Nearest: 'num_envs'"):
        ElegantRLVecEnv(task_id(Counting), num_env=2)
    with pytest.raises(ConfigError, match=r"device='gpu': .*gpu"):
        ElegantRLVecEnv(task_id(Counting), device="gpu")
    with pytest.raises(UnknownEnvError):
        ElegantRLVecEnv("Countin_wrap")
    with pytest.raises(ConfigError, match="expected a task id, a pool of the gym or gymnasium face"):
        ElegantRLVecEnv([pool])
    with pytest.raises(ConfigError, match=r"ElegantRLEnv.*expected a task id, or a pool of one env"):
        ElegantRLEnv(from_elegantrl(Batch(2)))


def test_a_vector_env_that_does_not_say_when_it_resets_envs() -> None:
    class Silent(VectorEnv[Any, Any, Any]):
        num_envs = 2

    with pytest.raises(ConfigError, match=r"does not say when it resets.*metadata\['autoreset_mode'\]"):
        ElegantRLVecEnv(Silent())


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (spaces.Dict(a=spaces.Discrete(2)), spaces.Discrete(2), "FlattenObservation"),
        (spaces.Discrete(2), spaces.Discrete(2), "FlattenObservation"),
        (spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([2, 2]), "are a Discrete, or a Box with one axis"),
        (spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (2, 2)), "are a Discrete, or a Box with one axis"),
    ],
)
def test_spaces_that_elegantrl_does_not_have(observation: Any, action: Any, message: str) -> None:
    class Odd(Film):
        observation_space, action_space = observation, action

    with pytest.raises(SpecError, match=message):
        build_env(Odd, {"num_envs": 2}, backend="inline")


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("elegantrl", "elegantrl_batch"):
        monkeypatch.delitem(sys.modules, f"envpool_wrap.integrations.{name}")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"torch is not installed: pip .*'envpool-wrapper\[elegantrl\]'"):
        importlib.import_module("envpool_wrap.integrations.elegantrl")


def test_a_batch_on_another_device_than_asked_for() -> None:
    env = ElegantRLVecEnv(from_elegantrl(Batch(2)), device="meta")
    with pytest.raises(ConfigError, match=r"device='meta', and the envs are on cpu.*device='cpu'"):
        env.reset()
