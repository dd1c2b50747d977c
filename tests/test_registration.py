"""Simulators by name: `register_batched`, and `make` with their task ids."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from envs import Counting
from simulators import Nested, Points

import envpool_wrap
from envpool_protocol.errors import (
    ConfigError,
    DuplicateEnvError,
    RegistrationError,
    SpecError,
    UnknownEnvError,
)
from envpool_wrap import registry
from envpool_wrap.integrations.batched import (
    BatchedDMPool,
    BatchedGymnasiumPool,
    BatchedPool,
    register_batched,
)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Any:
    from gymnasium.envs import registration

    monkeypatch.setattr(registry, "MAKERS", dict(registry.MAKERS))
    monkeypatch.setattr(registration, "registry", dict(registration.registry))
    return register_batched


def test_a_registered_simulator_is_not_found(register: Any, task_id: Any) -> None:
    made: list[dict[str, Any]] = []

    def points(num_envs: int, device: str | None = None, size: int = 1) -> Points:
        made.append({"num_envs": num_envs, "device": device, "size": size})
        return Points(num_envs=num_envs)

    assert register("Points", points, size=2) == "Points"
    assert "Points" in envpool_wrap.list_all_envs() and task_id(Counting) in envpool_wrap.list_all_envs()
    faces = {"gym": BatchedPool, "gymnasium": BatchedGymnasiumPool, "dm": BatchedDMPool}
    for env_type, face in faces.items():
        pool = envpool_wrap.make("Points", env_type=env_type, num_envs=5, device="cpu", batch_size=5)
        assert type(pool) is face and len(pool) == 5
        assert made[-1] == {"num_envs": 5, "device": "cpu", "size": 2}
        assert pool.config["device"] == "cpu" and pool.config["size"] == 2 and pool.spec.config.seed == 42
        pool.reset()
        assert pool.venv.seeds == [42]
    pool = envpool_wrap.make_gym("Points", num_envs=2, seed=None, copy=True, size=3)
    assert pool.config["seed"] is not None and pool.config["copy"] and pool.config["size"] == 3
    with gymnasium.make_vec("envpool_wrap:Points", num_envs=2) as envs:
        assert envs.reset()[0].shape == (2, 2)


def test_a_factory_that_names_seed_and_mode_is_not_told_them(register: Any) -> None:
    class Told(Points):
        def __init__(self, seed: int, autoreset_mode: str) -> None:
            super().__init__()
            self.metadata = {"autoreset_mode": autoreset_mode}
            self.seed = seed

    register("Told", Told)
    pool = envpool_wrap.make("Told", "gym", seed=7, autoreset_mode="next_step")
    assert (pool.venv.seed, pool.config["autoreset_mode"]) == (7, "next_step")


def test_a_simulator_is_left_open_or_made_with_settings_that_it_ignores(register: Any) -> None:
    closed: list[Points] = []

    class Closing(Points):
        def close(self, **kwargs: Any) -> None:
            closed.append(self)

    def three() -> Points:
        return Closing()

    register("Three", three)
    register("Rows", Closing)
    for settings, message in (
        ({"num_envs": 3}, r"unexpected keyword argument 'num_envs'.*It takes no settings"),
        ({"backend": "thread"}, "unexpected keyword argument 'backend'"),
        ({"autoreset_mode": "next_step"}, "resets by 'same_step'"),
        ({"batch_size": 2}, "batch_size=2: Three steps its 3 envs at once"),
        ({"array": "tensorflow"}, "array='tensorflow'"),
        ({"seed": "x"}, "seed='x'"),
    ):
        with pytest.raises(ConfigError, match=message):
            envpool_wrap.make("Three", "gym", **settings)
    assert len(closed) == 4
    register("Ignoring", lambda **_: three())
    with pytest.raises(SpecError, match="made 3 envs; num_envs=4 was asked for"):
        envpool_wrap.make("Ignoring", "gym", num_envs=4)
    with pytest.raises(ConfigError, match=r"env_type='gymnasum'.* Nearest: 'gymnasium'"):
        envpool_wrap.make("Rows", "gymnasum")
    assert len(closed) == 5
    with pytest.raises(RegistrationError, match=r"'Rows' .* a simulator, which only make\(\) can make"):
        envpool_wrap.make_spec("Rows")


def test_two_simulators_share_a_name(register: Any, task_id: Any) -> None:
    register("One", Points)
    register("One", Points, num_envs=4)
    assert len(envpool_wrap.make("One", "gym")) == 4
    with pytest.raises(DuplicateEnvError, match=r"simulators\.Points already; register simulators\.Nested"):
        register("One", Nested)
    with pytest.raises(DuplicateEnvError, match="is a generated env"):
        register(task_id(Counting), Points)
    for name, factory in (("", Points), (3, Points), ("Two", Points())):
        with pytest.raises(RegistrationError):
            register(name, factory)
    with pytest.raises(UnknownEnvError):
        envpool_wrap.make("Two", "gym")


def test_gymnasiums_own_id_is_taken_over(register: Any) -> None:
    register("CartPole-v1", Points)
    envs = gymnasium.make_vec("CartPole-v1", num_envs=2)
    assert envs.observation_space.shape == (2, 4)
    envs.close()
    assert isinstance(envpool_wrap.make_gym("CartPole-v1"), BatchedPool)
