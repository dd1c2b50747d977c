"""Registering envs: names, duplicates, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from envs import Counting
from plain_envs import Echo

import envpool_wrap
from envpool_protocol import CppWrapperGenerator, EnvManager
from envpool_protocol.errors import (
    ConfigError,
    DuplicateEnvError,
    ProtocolError,
    RegistrationError,
    UnknownEnvError,
)

generate = CppWrapperGenerator.generate_envpool_wrap


def another(name: str = "Counting", module: str = "elsewhere") -> type:
    """A class like Counting that was defined somewhere else."""
    return type(name, (Counting,), {"__module__": module})


# Registering


@pytest.mark.usefixtures("registry")
class TestRegistering:
    def test_decorator_gives_the_class_back_with_and_without_arguments(self) -> None:
        bare, empty, named = (another(name) for name in ("Bare", "Empty", "Named"))
        assert EnvManager.register_env(bare) is bare
        assert EnvManager.register_env()(empty) is empty
        assert EnvManager.register_env(name="Other", ends_after=3)(named) is named
        assert {"Bare_wrap", "Empty_wrap", "Other_wrap"} <= set(EnvManager.task_ids())
        source = EnvManager.find("Other_wrap")
        assert source is not None and source.kwargs == {"ends_after": 3}

    def test_two_classes_under_one_task_id_are_refused_with_both_places_and_a_way_out(self) -> None:
        EnvManager.register_env(another("Twice"))
        with pytest.raises(DuplicateEnvError, match=r"elsewhere\.Twice already; register third\.Twice under"):
            EnvManager.register_env(another("Twice", "third"))
        source = EnvManager.find("Twice_wrap")
        assert source is not None and source.target.__module__ == "elsewhere"
        EnvManager.register_env(another("Twice", "third"), name="Third")

    def test_same_class_again_is_fine_and_takes_the_new_arguments(self) -> None:
        for ends_after in (3, 4):
            EnvManager.register_env(Counting, ends_after=ends_after)
        source = EnvManager.find("Counting_wrap")
        assert source is not None and source.kwargs == {"ends_after": 4}

    def test_newer_version_of_a_class_replaces_it_as_a_notebook_cell_run_again_does(self) -> None:
        old, new = another("Cell", "__main__"), another("Cell", "__main__")
        EnvManager.register_env(old)
        EnvManager.register_env(new)
        source = EnvManager.find("Cell_wrap")
        assert source is not None and source.target is new

    def test_refused_class_is_not_registered(self) -> None:
        broken = another("Broken")
        broken._done_envpool = 3  # type: ignore[attr-defined]
        with pytest.raises(ProtocolError):
            EnvManager.register_env(broken)
        assert EnvManager.find("Broken_wrap") is None

    def test_unknown_task_id_suggests_the_nearest(self) -> None:
        EnvManager.register_env(another("CartPole"))
        for call in (generate, CppWrapperGenerator.render, EnvManager.source):
            with pytest.raises(
                UnknownEnvError, match=r"no env is called 'CartPol_wrap'\. Nearest: 'CartPole_wrap'"
            ):
                call("CartPol_wrap")
        with pytest.raises(UnknownEnvError, match="Nearest: 'CartPole_wrap'"):
            envpool_wrap.make("CartPole", env_type="gym")
        with pytest.raises(KeyError):
            EnvManager.source("CartPol_wrap")

    def test_unknown_task_id_like_no_other_lists_what_is_known(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path))
        monkeypatch.setattr(EnvManager, "_sources", {})
        with pytest.raises(UnknownEnvError, match=r"No env is known yet\. Generate one"):
            EnvManager.source("zzz")
        EnvManager.register_env(another("CartPole"))
        with pytest.raises(UnknownEnvError, match="Known: CartPole_wrap"):
            EnvManager.source("zzz")

    def test_an_id_that_gymnasium_knows_is_told_how_to_register(self) -> None:
        for task_id in ("Acrobot-v1", "Acrobot-v1_wrap"):
            with pytest.raises(UnknownEnvError, match=r"register\('Acrobot-v1'\)"):
                envpool_wrap.make(task_id, "gym")

    @pytest.mark.parametrize("given", [Counting, [Counting]])
    @pytest.mark.parametrize("use", [envpool_wrap.make_gym, envpool_wrap.make_spec])
    def test_make_of_a_class_is_told_what_a_task_id_is(self, use: Any, given: Any) -> None:
        with pytest.raises(
            UnknownEnvError, match=r"Counting'>\]? is no task id; give the str that .*register"
        ):
            use(given)

    def test_source_of_a_class_registers_it_and_keeps_a_name_it_has(self) -> None:
        env = another("Fresh")
        assert EnvManager.source(env).task_id == "Fresh_wrap"
        assert EnvManager.find("Fresh_wrap") is not None
        named = another("Named")
        EnvManager.register_env(named, "Other")
        assert EnvManager.source(named).task_id == "Other_wrap"

    def test_instance_is_refused_by_generate_too(self) -> None:
        with pytest.raises(RegistrationError, match="pass the class, not an instance"):
            generate(Counting(0))


def test_registering_in_one_word_generates_under_the_name_it_returns(
    registry: None, task_id: Callable[[type], str]
) -> None:
    """`register(MyEnv)` after `register(MyEnv, "Other")` must not return, and generate, the other one."""
    task_id(Counting)
    EnvManager._sources.clear()
    EnvManager.register_env(Counting, "Other")
    assert envpool_wrap.register(Counting) == "Counting_wrap"


# Sources other than hooks


@pytest.mark.usefixtures("registry")
class TestOtherSources:
    def test_function_is_registered_by_a_decorator_under_its_name(self) -> None:
        @EnvManager.register_env(ends_after=4)
        def make_echo(envid: int, ends_after: int) -> Echo:
            return Echo(ends_after)

        source = EnvManager.find("make_echo_wrap")
        assert source is not None and source.make(0).ends_after == 4 and make_echo(0, 2).ends_after == 2

    def test_id_is_given_back_and_found_again_by_itself(self) -> None:
        assert EnvManager.register_env("CartPole-v1", "Pole") == "CartPole-v1"
        assert EnvManager.source("CartPole-v1") is EnvManager.find("Pole_wrap")
        assert EnvManager.source("Acrobot-v1").task_id == "Acrobot-v1_wrap"

    def test_name_of_an_id_is_not_given_to_another_kind(self) -> None:
        EnvManager.register_env("CartPole-v1", "Echo")
        with pytest.raises(DuplicateEnvError, match=r"gymnasium's CartPole-v1 already; .*plain_envs\.Echo"):
            EnvManager.register_env(Echo)

    def test_unknown_word_is_neither_task_id_nor_gymnasiums(self) -> None:
        with pytest.raises(UnknownEnvError, match=r"no env is called 'CartPol-v1'.*gymnasium knows"):
            generate("CartPol-v1")

    def test_list_of_envs_makes_pools_in_this_process(self) -> None:
        envs = [Echo(), Echo()]
        EnvManager.register_env(envs, name="Alive")
        made = generate("Alive_wrap")
        assert made.task_id == "Alive_wrap" and "Alive_wrap" not in envpool_wrap.list_all_envs()
        for backend in ("auto", "thread", "inline"):
            with envpool_wrap.make("Alive_wrap", "gym", backend=backend) as pool:
                assert len(pool) == 2 and pool.config["backend"] in (backend, "inline", "thread")
                assert pool.reset()[0]["t"].tolist() == [0, 0]
                assert pool.get_attr("closed") == [env.closed for env in envs]
        assert [env.closed for env in envs] == [3, 3]
        with pytest.raises(ConfigError, match="num_envs=3 for 2 instances of Echo; expected 2"):
            envpool_wrap.make("Alive_wrap", "gym", num_envs=3)
        with pytest.raises(ConfigError, match="stay in this process; use backend='inline' or 'thread'"):
            envpool_wrap.make("Alive_wrap", "gym", num_envs=2, backend="process")
        with pytest.raises(ConfigError, match="env_kwargs for 2 instances of Echo"):
            envpool_wrap.make("Alive_wrap", "gym", env_kwargs={})
