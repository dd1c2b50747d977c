"""One home folder for the whole run and all its processes, so that each env of `envs.py` is compiled once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import envs
import pytest
from echo import Echo
from newcomer import Newcomer, compiler_script

import envpool_wrap
from envpool_protocol import CppWrapperGenerator, EnvManager
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import source_of
from envpool_wrap.config import PoolConfig
from envpool_wrap.registry import face_of

pytest_plugins = ["ray_envs", "scripts", "troubled_pools"]  # their fixtures


# A shell that is no terminal's starts what ends in & with SIGINT ignored, and tests interrupt themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden, to be read in review"
    )


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """ENVPOOL_WRAP_HOME of this run; tests that need an empty one set their own."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "home"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVPOOL_WRAP_HOME", str(folder))
        patch.setenv(envs.GATES, str(tmp_path_factory.mktemp("gates")))
        yield folder


@pytest.fixture(scope="session")
def task_id(home: Path) -> Callable[[type], str]:
    """`task_id(cls)` generates the module of an env class, once, and returns its task id."""
    done: dict[type, str] = {}

    def generate(cls: type) -> str:
        if cls not in done:
            done[cls] = CppWrapperGenerator.generate_envpool_wrap(cls).task_id
        return done[cls]

    return generate


@pytest.fixture(scope="session")
def echo_task(home: Path) -> Callable[[Any], str]:
    """`echo_task(space)`: the task id of an env that echoes values of this space, compiled once."""
    done: list[Any] = []

    def generate(space: Any) -> str:
        if not any(space is known for known in done):
            done.append(space)
        name = f"Echo{next(i for i, known in enumerate(done) if known is space)}"
        EnvManager.register_env(Echo, name=name, space=space)
        return CppWrapperGenerator.generate_envpool_wrap(f"{name}_wrap").task_id

    return generate


@pytest.fixture
def make(task_id: Callable[[type], str]) -> Iterator[Callable[..., Any]]:
    """`make(cls, env_type="gym", backend="inline", **config)`: a pool that is closed after the test."""
    pools: list[Any] = []

    def make_pool(cls: type, env_type: str = "gym", backend: str = "inline", **config: Any) -> Any:
        pools.append(envpool_wrap.make(task_id(cls), env_type=env_type, backend=backend, **config))
        return pools[-1]

    yield make_pool
    envs.Gated.open_all()
    try:
        for pool in pools:
            pool.close()
    finally:
        envs.Gated.remove_all()


@pytest.fixture(params=["generated", "prebuilt"])
def module_kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of modules in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def pool_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """`pool_of(env, kind, env_type="gym", backend="inline", env_name=None, **config)`: closed after the test.

    `env` is what `register_env` takes, `kind` that of the module. What it registers is forgotten.
    """
    monkeypatch.setattr(EnvManager, "_sources", dict(EnvManager._sources))
    pools: list[Any] = []

    def make_pool(
        env: Any,
        kind: str = "prebuilt",
        env_type: str = "gym",
        backend: str = "inline",
        env_name: str | None = None,
        **config: Any,
    ) -> Any:
        if kind == "generated":
            made = envpool_wrap.register(env, env_name)
            pools.append(envpool_wrap.make(made, env_type, backend=backend, **config))
        else:
            source = source_of(env, env_name)
            description = source.describe()
            settings = PoolConfig.of({"backend": backend, **config})
            face, module = face_of(env_type), prebuilt_module(description)
            pools.append(face(source, description, module, settings))
        return pools[-1]

    yield make_pool
    for pool in pools:
        pool.close()


@pytest.fixture(params=["inline", "thread", "process"])
def backend(request: pytest.FixtureRequest) -> str:
    """Every backend in turn."""
    name: str = request.param
    return name


@pytest.fixture(params=["thread", "process"])
def apart(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings of a pool whose caller steps nothing, with a worker for each of two envs, on each backend."""
    return {"backend": request.param, "num_threads": 2, "caller_steps": False}


@pytest.fixture
def journal(tmp_path: Path) -> envs.Journal:
    """Where envs of any process write down that they were closed."""
    return envs.Journal(tmp_path / "journal")


@pytest.fixture(scope="session")
def logging_compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiler of all newcomers of this run."""
    return compiler_script(tmp_path_factory.mktemp("compiler") / "c++")


@pytest.fixture(scope="session")
def shared_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules that newcomers share."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture
def user(tmp_path: Path, logging_compiler: Path, shared_modules: Path) -> Newcomer:
    """A newcomer with an empty folder and no records."""
    return Newcomer(tmp_path / "folder", tmp_path / "home", logging_compiler, shared_modules)


@pytest.fixture
def cold_user(tmp_path: Path, logging_compiler: Path) -> Newcomer:
    """A newcomer with an empty folder and an empty home: each generation compiles."""
    return Newcomer(tmp_path / "folder", tmp_path / "home", logging_compiler)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(EnvManager, "_sources", dict(EnvManager._sources))


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Networks of tests are small: on more threads they are slower, much slower where tests share cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
