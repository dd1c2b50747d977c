"""A wheel of an env: the same bytes from anywhere, and an env wherever it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from envs import Counting
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from newcomer import MADE, MAKE, MY_ENV, Newcomer, compiler_script
from plain_envs import Echo

import envpool_protocol
import envpool_wrap
from envpool_protocol import CppWrapperGenerator, EnvManager, compiler, origins, records, wheels
from envpool_protocol.errors import BuildError, ConfigError, RegistrationError
from envpool_protocol.sources import source_of

pytestmark = pytest.mark.usefixtures("registry")
build = CppWrapperGenerator.build_wheel
BUILD = """
if __name__ == "__main__":
    print(CppWrapperGenerator.build_wheel(MyEnv, "out", version="1.2"))
"""
NAME = f"envpool_wrap_myenv-1.2-cp{sys.version_info[0]}{sys.version_info[1]}-"


# Built


@dataclass(frozen=True)
class Built:
    """Two wheels of one env, from two folders."""

    here: Path
    there: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, logging_compiler: Path) -> Built:
    """One is built by a script that holds the env, the other by one that imports it, with another umask."""
    here, there = (
        Newcomer(tmp_path_factory.mktemp(name), tmp_path_factory.mktemp("home"), logging_compiler)
        for name in ("here", "over there é")
    )
    here.write("my_env.py", MY_ENV, BUILD)
    here.run("my_env.py")
    there.write("my_env.py", MY_ENV, BUILD)
    there.write("build.py", "import os; os.umask(0o077)", "from my_env import *", BUILD)
    there.environ |= {"PYTHONHASHSEED": "7", "TMPDIR": str(there.folder)}
    there.run("build.py")
    for user in (here, there):
        assert not (user.home / "records").exists()
    paths = [next((user.folder / "out").iterdir()) for user in (here, there)]
    return Built(*paths)


def test_wheel_is_the_same_to_the_bit_wherever_it_is_built(built: Built) -> None:
    assert built.here.name == built.there.name and built.here.name.startswith(NAME)
    assert built.here.read_bytes() == built.there.read_bytes()
    assert built.here.stat().st_mode & 0o777 == built.there.stat().st_mode & 0o777 == 0o644


def test_wheel_holds_no_path_of_the_machine_that_built_it(built: Built) -> None:
    places = [built.here.parents[1], sys.prefix, Path(sysconfig.get_path("include")).parent, "/tmp"]
    places.append(Path(envpool_protocol.__file__).parents[1])
    with zipfile.ZipFile(built.here) as wheel:
        for name in wheel.namelist():
            for place in map(str, places):
                assert place.encode() not in wheel.read(name), (name, place)


def test_wheel_holds_what_is_needed_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.here) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        module = compiler.extension_name("_MyEnv_wrap")
        assert names == {
            f"envpool_wrap_MyEnv/{name}"
            for name in ("__init__.py", "MyEnv_wrap.json", module, "source/my_env.py")
        }
        metadata = wheel.read("envpool_wrap_myenv-1.2.dist-info/METADATA").decode()
        assert f"Requires-Dist: envpool-wrapper=={envpool_protocol.__version__}\n" in metadata
        entry = wheel.read("envpool_wrap_myenv-1.2.dist-info/entry_points.txt").decode()
        assert "[envpool_wrap.envs]\nMyEnv_wrap = envpool_wrap_MyEnv" in entry
        assert {one.date_time[:3] for one in wheel.infolist()} == {(1980, 1, 1)}


def test_times_are_those_of_source_date_epoch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """scikit-build-core puts them in; that it is asked to is what is ours."""
    seen: list[str] = []

    def run_tool(*_: Any, env: dict[str, str], **__: Any) -> int:
        seen.append(env["SOURCE_DATE_EPOCH"])
        return 1

    monkeypatch.setattr(compiler, "run_tool", run_tool)
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    for epoch in (None, "1700000000"):
        if epoch:
            monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        with pytest.raises(BuildError, match="the wheel of Counting_wrap could not be built"):
            build(Counting, tmp_path)
    assert seen == ["315532800", "1700000000"]


# Installed


@pytest.fixture(scope="module")
def machine(built: Built, tmp_path_factory: pytest.TempPathFactory, logging_compiler: Path) -> Newcomer:
    """Another machine, as far as can be: a venv with the wheel and what it requires, and no compiler."""
    folder = tmp_path_factory.mktemp("machine")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    python = venv / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    required = sysconfig.get_path("purelib")
    Path(site, "required.pth").write_text(f"import site; site.addsitedir({required!r})\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--disable-pip-version-check", built.here], check=True, timeout=100)
    user = Newcomer(folder / "work", folder / "home", logging_compiler, python=python)
    user.environ.update(CXX="", PATH="")
    return user


def test_env_is_listed_without_importing_its_code(machine: Newcomer) -> None:
    code = """if True:
        import sys, envpool_wrap
        print(envpool_wrap.list_all_envs(), "my_env" in sys.modules, "envpool_wrap_MyEnv" in sys.modules)
        import gymnasium
        print("MyEnv_wrap" in gymnasium.registry)
    """
    assert machine.run("-c", code) == "['MyEnv_wrap'] False False\nTrue\n"


def test_env_is_pooled_without_a_compiler(machine: Newcomer) -> None:
    assert machine.run(machine.write("use.py", MAKE)) == MADE


@pytest.mark.parametrize("backend", ["inline", "process"])
def test_trajectories_are_those_of_the_class(backend: str, machine: Newcomer, user: Newcomer) -> None:
    playing = f"""
        import numpy as np
        import envpool_wrap as envpool
        if __name__ == "__main__":
            config = {{"num_envs": 3, "backend": {backend!r}, "max_episode_steps": 4}}
            with envpool.make("MyEnv_wrap", env_type="gym", **config) as pool:
                print(pool.reset()[0].tolist())
                for step in range(9):
                    print([leaf.tolist() for leaf in pool.step(np.zeros((3, 1), np.float32))[:4]])
    """
    user.write(
        "my_env.py", MY_ENV, "if __name__ == '__main__': CppWrapperGenerator.generate_envpool_wrap(MyEnv)"
    )
    user.run("my_env.py")
    assert machine.run(machine.write("play.py", playing)) == user.run(user.write("play.py", playing))


def test_other_file_of_that_name_is_not_taken_for_it(machine: Newcomer) -> None:
    machine.write("apart/my_env.py", "raise SystemExit('the wrong file')")
    assert machine.run(machine.write("apart/use.py", MAKE)) == MADE


def test_raw_class_of_the_module_is_there(machine: Newcomer) -> None:
    code = """if True:
        from envpool_wrap.registry import find
        found = find("MyEnv_wrap")
        print(found.module.__file__.endswith(".so"), hasattr(found.module, "_MyEnvPool"))
    """
    assert machine.run("-c", code) == "True True\n"


# What goes into it. Nothing is compiled: what cannot be found elsewhere is refused before.


def test_env_in_a_package_takes_the_package_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "walkers"
    files = {
        "__init__.py": "",
        "deep/__init__.py": "",
        "deep/envs.py": MY_ENV.replace("SIZE = 3", "from ..sizes import SIZE"),
        "sizes.py": "SIZE = 3",
        "data.txt": "kept",
        "__pycache__/x.pyc": "not kept",
        ".hidden": "not kept",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    cls = origins.object_in(package / "deep" / "envs.py", "MyEnv")
    origin, copied, needed = wheels._found_elsewhere(source_of(cls))
    kept = ["__init__.py", "data.txt", "deep/__init__.py", "deep/envs.py", "sizes.py"]
    assert [str(inside) for _, inside in copied] == [f"walkers/{name}" for name in kept]
    assert (origin.module, origin.file, origin.root) == (
        "walkers.deep.envs",
        "source/walkers/deep/envs.py",
        "source",
    )
    assert needed == [] and stops_at_the_compiler(cls, monkeypatch, tmp_path)


def stops_at_the_compiler(env: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bool:
    """Whether a fresh interpreter finds the env by what is in the wheel: only then is anything compiled."""
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(compiler, "run_tool", lambda *_, **__: 1)
    with pytest.raises(BuildError) as caught:
        build(env, tmp_path / "out")
    kept = caught.value.source_path
    assert kept is not None and (kept / "pyproject.toml").is_file() and str(kept) in str(caught.value)
    assert not (tmp_path / "out").exists()
    return True


def test_env_of_an_installed_package_is_required_instead_of_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for env in (CartPoleEnv, "CartPole-v1"):
        origin, copied, needed = wheels._found_elsewhere(EnvManager.source(env))
        assert (origin.file, origin.root, copied, needed) == (None, None, [], ["gymnasium"])
        assert stops_at_the_compiler(env, monkeypatch, tmp_path)


def test_names_of_wheels_are_what_pip_takes() -> None:
    wheel = wheels._wheel_of(source_of(Echo, "My.Odd-Env_2"), "0.1", ["torch>=2; python_version<'4'"])
    assert wheel.distribution == "envpool-wrap-my-odd-env-2" and wheel.package.isidentifier()
    assert wheel.requires[1] == "\"torch>=2; python_version<'4'\""


# Bad input


def made_in_a_function() -> type:
    class Local(Counting): ...

    return Local


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (lambda envid: Echo(), r"<lambda> is in no file that a wheel could hold"),
        (made_in_a_function(), r"made_in_a_function\.<locals>\.Local is in no file that a wheel could hold"),
        ([Echo(), Echo()], "2 instances of Echo, which stay in this process"),
    ],
    ids=["lambda", "local class", "live envs"],
)
def test_what_no_other_interpreter_finds_is_refused_with_what_to_do(
    env: Any, told: str, tmp_path: Path
) -> None:
    EnvManager.register_env(env, "Lost")
    with pytest.raises(
        RegistrationError, match=f"{told}.*; define a class, or a function that makes envs, at the top"
    ):
        build("Lost_wrap", tmp_path)
    assert not list(tmp_path.iterdir())


def test_env_that_imports_its_neighbours_is_refused(user: Newcomer) -> None:
    user.write("neighbour.py", "SIZE = 3")
    user.write("my_env.py", MY_ENV.replace("SIZE = 3", "from neighbour import SIZE"), BUILD)
    error = user.fail("my_env.py").strip().splitlines()[-1]
    assert "RegistrationError: MyEnv_wrap: an interpreter that has only the wheel cannot load MyEnv" in error
    assert "No module named 'neighbour'" in error and "the whole package" in error
    assert user.builds == 0 and not (user.folder / "out").exists()


def test_id_whose_module_is_in_no_package_is_refused(user: Newcomer) -> None:
    register = "import gymnasium; gymnasium.register('Walk-v0', 'walks:Walk')"
    user.write("walks.py", "import gymnasium", "class Walk(gymnasium.Env): ...")
    user.write("build.py", MY_ENV, register, BUILD.replace("MyEnv", "'Walk-v0'"))
    error = user.fail("build.py")
    assert "gymnasium's Walk-v0 is made by 'walks:Walk', which is in no installed package" in error


def test_arguments_that_cannot_be_pickled_are_refused(tmp_path: Path) -> None:
    EnvManager.register_env(Counting, "Held", closes=threading.Lock())
    with pytest.raises(RegistrationError, match="the arguments of Counting cannot be pickled"):
        build("Held_wrap", tmp_path)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"version": "latest"}, r"version: 'latest'; expected such as '0\.1\.0'"),
        ({"version": ""}, "version: ''; expected"),
        ({"requires": ["numpy", "torch>>2"]}, "requires: 'torch>>2'; expected such as 'torch>=2.4'"),
        ({"requires": [""]}, "requires: ''; expected"),
    ],
    ids=str,
)
def test_bad_versions_and_requirements_are_refused(bad: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        build(Counting, tmp_path, **bad)


def test_missing_compiler_and_refused_sources_are_build_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CXX", "/no/such/compiler")
    with pytest.raises(BuildError, match="no C\\+\\+ compiler found"):
        build(Counting, tmp_path / "out")
    then = 'case "$*" in *"-c "*.cc*) echo "env.cc:1: error: not today"; exit 1;; esac'
    monkeypatch.setenv("CXX", str(compiler_script(tmp_path / "refuses" / "c++", then)))
    lines: list[str] = []
    with pytest.raises(BuildError, match="not today") as caught:
        build(Counting, tmp_path / "out", report=lines.append)
    assert any("not today" in line for line in lines) and "not today" in caught.value.output
    assert (caught.value.source_path / "module" / "env.cc").is_file() and not (tmp_path / "out").exists()


# Records of wheels, without building one


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with an installed wheel of Counting, as far as it can be listed; an empty home."""
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path / "home"))
    folder = tmp_path / "site"
    info = folder / "envpool_wrap_counting-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: envpool-wrap-counting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[envpool_wrap.envs]\nCounting_wrap = envpool_wrap_Counting\n")
    (folder / "envpool_wrap_Counting").mkdir()
    write_record(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


def write_record(site: Path, text: str = "") -> None:
    origin = records.Origin("envs", "Counting", "source/envs.py", "source", "0", None, None)
    record = records.record_of("Counting", source_of(Counting).describe().to_json(), origin, "_C.so", "1")
    path = site / "envpool_wrap_Counting" / "Counting_wrap.json"
    path.write_text(text or records.text_of(record))


def test_paths_of_an_installed_record_lie_in_its_folder(site: Path) -> None:
    assert envpool_wrap.list_all_envs() == ["Counting_wrap"]
    record, folder = records.load("Counting_wrap"), site / "envpool_wrap_Counting"
    assert record is not None and record.module_file == str(folder / "_C.so")
    assert (record.origin.file, record.origin.root) == (
        str(folder / "source/envs.py"),
        str(folder / "source"),
    )
    assert records.load("Other_wrap") is None


def test_own_record_hides_that_of_a_wheel(site: Path, tmp_path: Path) -> None:
    origin = records.Origin("mine", "Counting", "/mine.py", "/", "0", None, None)
    records.save(records.record_of("Counting", {}, origin, "m.so", "1"))
    assert envpool_wrap.list_all_envs() == ["Counting_wrap"]
    record = records.load("Counting_wrap")
    assert record is not None and record.origin == origin


@pytest.mark.parametrize("text", ["{", '{"format": 99}'])
def test_broken_record_of_a_wheel_is_skipped_with_a_warning_that_names_it(text: str, site: Path) -> None:
    write_record(site, text)
    with pytest.warns(UserWarning, match=r"Counting_wrap\.json is not a readable record"):
        assert envpool_wrap.list_all_envs() == []
    with pytest.warns(UserWarning, match="the record of Counting_wrap in its wheel cannot be read"):
        assert records.load("Counting_wrap") is None


def test_entry_point_without_a_record_is_skipped_with_a_warning(site: Path) -> None:
    os.unlink(site / "envpool_wrap_Counting" / "Counting_wrap.json")
    with pytest.warns(UserWarning, match="not a readable record"):
        assert envpool_wrap.list_all_envs() == []
