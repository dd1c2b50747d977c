"""`WrapperRayVecEnv` as RayEnvWrapper's document describes it, beside Stable-Baselines3's DummyVecEnv.

The document's code is run too, where it lies beside this project. Needs the extras `ray` and `sb3`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from ray_envs import Camera, Toy, quietly
from seed_documents import document, fenced

from envpool_protocol.errors import ActionError, EnvError, SpecError, WorkerDied

with quietly():
    pytest.importorskip("ray")
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    from envpool_wrap.integrations.ray import WrapperRayVecEnv

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_ray")]
ACTIONS = np.arange(6) % 5


@pytest.fixture
def wrapped() -> Iterator[Callable[..., Any]]:
    """`wrapped(make_env=Toy, W=3, E=2, **config)`: closed after the test."""
    made: list[Any] = []

    def make(make_env: Any = Toy, workers: int = 3, envs: int = 2, **config: Any) -> Any:
        made.append(WrapperRayVecEnv(make_env, workers, envs, **config))
        return made[-1]

    yield make
    for env in made:
        env.close()


def dummy(make_env: Callable[[int], Any], count: int) -> Any:
    return vec_env.DummyVecEnv([lambda i=i: make_env(i) for i in range(count)])


def assert_same(one: Any, other: Any) -> None:
    """Results of a step, infos included, to the bit; RecordEpisodeStatistics' clock aside."""
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            if key != "t":
                assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert np.asarray(one).dtype == np.asarray(other).dtype
        assert np.array_equal(one, other)


def make_cart_pole(seed: int) -> Any:
    """As the document seeds it: the next reset draws from a generator with this seed."""
    env = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1"))
    env.unwrapped.np_random = np.random.default_rng(seed)
    return env


def make_film(seed: int) -> Any:
    """Without the text, which Stable-Baselines3 does not have."""

    class Film(Camera):
        observation_space = gymnasium.spaces.Dict(  # type: ignore[assignment]
            {key: space for key, space in Camera.observation_space.items() if key != "word"}
        )

        def _obs(self) -> Any:
            return {key: value for key, value in super()._obs().items() if key != "word"}

    return gymnasium.wrappers.TimeLimit(Film(seed), 2)


def test_the_transcript(wrapped: Any) -> None:
    env = wrapped()
    obs = env.reset()
    assert obs.dtype == np.float32
    assert obs.tolist() == [[seed, 0] for seed in range(6)]
    ended_before = [False] * 6
    for t, rewards, dones in (
        ([1, 1, 1, 1, 1, 1], [0.1, 1.1, 2.1, 3.1, 4.1, 5.1], [False] * 6),
        ([0, 2, 0, 2, 0, 2], [0.2, 1.2, 2.2, 3.2, 4.2, 5.2], [True, False] * 3),
        ([1, 0, 1, 0, 1, 0], [0.1, 1.3, 2.1, 3.3, 4.1, 5.3], [False, True] * 3),
        ([0, 1, 0, 1, 0, 1], [0.2, 1.1, 2.2, 3.1, 4.2, 5.1], [True, False] * 3),
    ):
        obs, reward, done, infos = env.step(ACTIONS)
        assert obs.tolist() == [[seed, one] for seed, one in enumerate(t)]
        assert reward.dtype == np.float32
        assert reward.tolist() == pytest.approx(rewards)
        assert done.tolist() == dones
        assert [info["a"] for info in infos] == [0, 1, 2, 3, 4, 0]
        assert not any(info["TimeLimit.truncated"] for info in infos)
        for seed, info in enumerate(infos):
            last = info.get("terminal_observation")
            assert (last is not None) == dones[seed]
            assert last is None or last.tolist() == [seed, 2 + seed % 2]
        ended_before = dones
    assert any(ended_before)


@pytest.mark.parametrize("make_env", [Toy, make_film, make_cart_pole])
def test_it_differs_from_dummy_vec_env(wrapped: Any, make_env: Any) -> None:
    own, its = wrapped(make_env), dummy(make_env, 6)
    own.action_space.seed(3)
    assert (own.observation_space, own.action_space) == (its.observation_space, its.action_space)
    for _ in range(2):  # the second reset starts new episodes
        assert_same(own.reset(), its.reset())
        for _ in range(60):
            actions = np.array([own.action_space.sample() for _ in range(6)])
            assert_same(own.step(list(actions)), its.step(actions))
    its.close()


def test_methods_that_were_stubs(wrapped: Any) -> None:
    env = wrapped()
    env.reset()
    assert env.get_attr("sd") == [0, 1, 2, 3, 4, 5]
    assert env.get_attr("sd", [1, 4]) == [1, 4]
    env.set_attr("z", 9, [2])
    assert env.get_attr("z") == [0, 0, 9, 0, 0, 0]
    assert env.env_method("double", 10, indices=[-1]) == [25]
    assert env.env_is_wrapped(gymnasium.wrappers.TimeLimit) == [False] * 6
    assert [image[0, 0, 0] for image in env.get_images()] == [0, 1, 2, 3, 4, 5]
    assert env.seed(100) == [100, 101, 102, 103, 104, 105]
    assert env.reset()[:, 0].tolist() == [100, 101, 102, 103, 104, 105]
    assert env.reset()[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert env.num_envs == 6


def test_reset_twice_hangs(wrapped: Any) -> None:
    env = wrapped(timeout=20)
    for _ in range(3):
        assert env.reset()[:, 1].tolist() == [0] * 6
        assert env.step(ACTIONS)[0][:, 1].tolist() == [1] * 6
    env.step_async(ACTIONS)
    assert env.reset()[:, 1].tolist() == [0] * 6, "a step that nobody waits for"


def test_seeds_that_the_pool_gives(wrapped: Any) -> None:
    """Instead of seeding in the function; each row then is what `reset(seed=i)` returns."""
    own = wrapped(lambda i: gymnasium.make("CartPole-v1"), 4, 2, seed=0).reset()
    assert np.array_equal(own, [gymnasium.make("CartPole-v1").reset(seed=i)[0] for i in range(8)])


def test_a_dead_actor_or_an_exception_hangs(wrapped: Any) -> None:
    env = wrapped(lambda i: Toy(i, "raise" if i == 4 else ""), timeout=20)
    env.reset()
    env.step(ACTIONS)
    start = time.monotonic()
    with pytest.raises(EnvError, match=r"env 4: step raised ValueError[\s\S]*worker 2"):
        env.step(ACTIONS)
    os.kill(env.get_attr("pid", 2)[0], signal.SIGKILL)
    with pytest.raises(WorkerDied, match=r"env 2: the actor of worker 1"):
        env.step(ACTIONS)
    assert time.monotonic() - start < 20
    assert env.reset()[:, 1].tolist() == [0] * 6


def test_what_does_not_fit(wrapped: Any) -> None:
    env = wrapped()
    env.reset()
    with pytest.raises(ActionError, match=r"expected shape \(6,\)"):
        env.step([0] * 5)
    with pytest.raises(SpecError, match="Stable-Baselines3 takes"):
        wrapped(Camera)


# ---- the document's own code ----

# Old line, new line, why.
PORT = [
    (
        "import gym\n",
        "import gymnasium as gym, numpy as np\n",
        "old gym's spaces are not Stable-Baselines3's",
    ),
    ("'CartPole-v0'", "'CartPole-v1'", "version 0 is deprecated, which is a warning"),
    (
        "    env.seed(seed)\n",
        "    env.unwrapped.np_random = np.random.default_rng(seed)\n",
        "env.seed is gone from gym 0.26; this is what it did",
    ),
    (
        "from RayEnvWrapper import",
        "from envpool_wrap.integrations.ray import",
        "the package's name",
    ),
]


def test_the_documents_code_runs() -> None:
    blocks = fenced(document("003"))
    code = [block for block in blocks if not block.startswith(("[[", "(array"))]  # the others are output
    assert len(code) == 4
    for old, new, _ in PORT:
        assert sum(block.count(old) for block in code) == 1, old
        code = [block.replace(old, new) for block in code]
    names: dict[str, Any] = {}
    make_env, construct, reset, step = code
    exec(make_env + construct, names)
    env = names["vec_env"]
    try:
        assert env.num_envs == 8
        obs = eval(reset, names)
        assert len({tuple(row) for row in obs.tolist()}) == 8, "each env has a seed of its own"
        expected = [gymnasium.make("CartPole-v1").reset(seed=i)[0] for i in range(8)]
        assert np.array_equal(obs, expected)
        assert obs[0] == pytest.approx([0.01369617, -0.02302133, -0.04590265, -0.04834723])
        assert obs[7] == pytest.approx([0.01250955, 0.03972138, 0.02756857, -0.02747928])
        obs, rewards, dones, infos = eval(step, names)
    finally:
        env.close()
    assert (obs.shape, obs.dtype) == ((8, 4), np.float32)
    assert (rewards.tolist(), rewards.dtype) == ([1.0] * 8, np.float32)
    assert dones.tolist() == [False] * 8
    assert infos == [{"TimeLimit.truncated": False}] * 8
