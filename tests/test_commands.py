"""The commands of `envpool-wrap`: what each prints, as text and as JSON, and how each fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import envs
import pytest
from newcomer import MY_ENV

import envpool_protocol
import envpool_wrap
from envpool_protocol import EnvManager
from envpool_wrap import doctor
from envpool_wrap.cli import main

pytest.importorskip("typer", reason="of the extra `cli`")

from typer.testing import CliRunner, Result

from envpool_wrap.commands import app

QUICK = ("--seconds", "0.05")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`run(*words, code=0)`: what the command prints; it must end with that code."""
    monkeypatch.setattr(EnvManager, "_sources", dict(EnvManager._sources))

    def invoke(*words: Any, code: int = 0) -> Result:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == code, (done.output, done.exception)
        return done

    return invoke


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home."""
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def counting(task_id: Callable[[type], str]) -> str:
    """An env that is there."""
    return task_id(envs.Counting)


# list, info


def test_list_tells_what_can_be_made_and_from_where(run: Any, counting: str) -> None:
    said = run("list").stdout
    assert said.split()[:5] == ["task_id", "from", "observation", "action", "state"]
    (line,) = (line for line in said.splitlines() if line.startswith("Counting_wrap "))
    assert "Counting in" in line and "Box(3, float32)" in line and line.endswith("ready")
    found = {one["task_id"]: one for one in json.loads(run("list", "--json").stdout)}
    assert sorted(found) == envpool_wrap.list_all_envs()
    assert found["Counting_wrap"]["action"] == "Box(1, float32)"


def test_list_of_an_empty_home_is_empty(run: Any, own_home: Path) -> None:
    assert run("list").stdout.split() == ["task_id", "from", "observation", "action", "state"]
    assert json.loads(run("list", "--json").stdout) == []


def test_info_tells_all_that_is_known(run: Any, counting: str, task_id: Any) -> None:
    assert "reward       float32\n" in run("info", counting).stdout
    facts = json.loads(run("info", counting, "--json").stdout)
    assert facts["api"] == "hooks" and Path(facts["module"]).is_file() and facts["state"] == "ready"
    nested = json.loads(run("info", task_id(envs.Nested), "--json").stdout)
    assert nested["observation"].startswith(
        "Dict(arm: Tuple(0: Box(scalar, float64), 1: Dict(grip: Discrete(4)"
    )


def test_info_of_an_unknown_env_is_wrong_usage_and_names_the_nearest(run: Any, counting: str) -> None:
    done = run("info", "Couting_wrap", code=2)
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: no env is called 'Couting_wrap'. Nearest: 'Counting_wrap'.")


# generate


@pytest.fixture
def my_env(tmp_path: Path) -> Path:
    """A file with an env in it."""
    file = tmp_path / "my_env.py"
    file.write_text(MY_ENV)
    return file


def test_generate_compiles_the_class_of_a_file_once(
    run: Any, own_home: Path, my_env: Path, shared_modules: Path
) -> None:
    (own_home / doctor.records.home().name).mkdir(parents=True)
    (doctor.records.home() / "modules").symlink_to(shared_modules)
    said = run("generate", f"{my_env}:MyEnv").stdout.splitlines()
    assert said[0].startswith("MyEnv_wrap: ") and Path(said[1]).is_file()
    again = json.loads(run("generate", f"{my_env}:MyEnv", "--json").stdout)
    assert (again["task_id"], again["cached"], again["path"]) == ("MyEnv_wrap", True, said[1])
    assert "was there already" in run("generate", "MyEnv_wrap").stdout
    with envpool_wrap.make("MyEnv_wrap", "gym") as pool:
        assert pool.reset()[0].shape == (1, 3)
    assert json.loads(run("info", "MyEnv_wrap", "--json").stdout)["from"] == f"MyEnv in {my_env}"
    forced = json.loads(run("generate", "MyEnv_wrap", "--force", "--json").stdout)
    assert not forced["cached"] and forced["path"] == said[1]


def test_class_of_a_package_keeps_its_relative_imports(run: Any, tmp_path: Path, own_home: Path) -> None:
    folder = tmp_path / "package" / "deep"
    folder.mkdir(parents=True)
    for place in (folder, folder.parent):
        (place / "__init__.py").write_text("")
    (folder.parent / "sizes.py").write_text("SIZE = 'wide'")
    (folder / "my_envs.py").write_text(MY_ENV.replace("SIZE = 3", "from ..sizes import SIZE"))
    done = run("generate", f"{folder / 'my_envs.py'}:MyEnv", code=1)
    assert "Box shape" in done.stderr  # it was imported, for it is what is wrong


@pytest.mark.parametrize(
    ("target", "text", "code", "told"),
    [
        ("no_such.py:MyEnv", "", 2, "there is no file"),
        ("my_env.py", MY_ENV, 2, r"which class? Write"),
        ("my_env.py:YourEnv", MY_ENV, 2, "has no 'YourEnv'. Nearest: 'MyEnv'"),
        ("my_env.py:SIZE", MY_ENV, 2, "cannot register 3: expected a subclass of EnvPoolProtocol"),
        ("my_env.py:MyEnv", "import no_such_module", 2, "No module named 'no_such_module'"),
        ("my_env.py:MyEnv", "class MyEnv(:", 2, "SyntaxError"),
        ("my_env.py:MyEnv", "import sys; sys.exit(0)", 2, "SystemExit: 0"),
        (
            "my_env.py:MyEnv",
            MY_ENV.replace("def _done_envpool", "def _x"),
            1,
            "does not define _done_envpool",
        ),
    ],
    ids=["no file", "no class", "another class", "no env", "no module", "no Python", "exits", "no hook"],
)
def test_what_cannot_be_generated_is_told_in_a_line_or_two(
    target: str, text: str, code: int, told: str, run: Any, tmp_path: Path, own_home: Path
) -> None:
    (tmp_path / "my_env.py").write_text(text)
    done = run("generate", tmp_path / target, code=code)
    assert told in done.stderr and done.stderr.startswith("error: ") and done.stdout == ""
    assert len(done.stderr.splitlines()) <= 2 and "Traceback" not in done.stderr
    debugged = CliRunner().invoke(app, ["generate", str(tmp_path / target), "--debug"])
    assert debugged.exit_code == 1 and told in str(debugged.exception)


def test_refused_compilation_is_two_lines_and_a_problem(
    run: Any, my_env: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/no/such/compiler")
    done = run("generate", f"{my_env}:MyEnv", code=1)
    assert done.stderr.startswith("error: no C++ compiler found: CXX='/no/such/compiler'")
    monkeypatch.setenv("CXX", "true")
    done = run("generate", f"{my_env}:MyEnv", code=1)
    assert "MyEnv_wrap did not compile" in done.stderr and "--debug" in done.stderr
    assert len(done.stderr.splitlines()) == 2


# wheel


def test_wheel_is_built_from_a_file(run: Any, my_env: Path, own_home: Path, tmp_path: Path) -> None:
    words = ("wheel", f"{my_env}:MyEnv", tmp_path / "out", "--version", "1.3", "--requires", "numpy>=1")
    path = Path(json.loads(run(*words, "--json").stdout)["path"])
    assert path.is_file() and path.name.startswith("envpool_wrap_myenv-1.3-")
    assert "error: version: 'x'; expected such as '0.1.0'" in run(*words[:4], "x", code=2).stderr


# bench, tune


def test_bench_has_a_line_for_the_loop_and_for_each_backend(run: Any, counting: str) -> None:
    said = run("bench", counting, "--num-envs", 2, *QUICK).stdout.splitlines()
    assert said[0].split()[:2] == ["envs", "backend"] and len(said) == 5
    assert [line.split()[1].strip(",") for line in said[1:]] == ["loop", "inline", "thread", "process"]


def test_bench_takes_sizes_backends_and_workers(run: Any, counting: str) -> None:
    words = (
        "--num-envs",
        1,
        "--num-envs",
        3,
        "--backend",
        "inline",
        "--backend",
        "thread",
        "--num-threads",
        2,
    )
    values = json.loads(run("bench", counting, *words, *QUICK, "--json").stdout)
    assert values["task_id"] == counting and [one["num_envs"] for one in values["contests"]] == [1, 3]
    trials = [[trial["name"] for trial in contest["trials"]] for contest in values["contests"]]
    assert trials == [["inline", "thread, 1 workers"], ["inline", "thread, 2 workers"]]
    assert all(rate > 0 for contest in values["contests"] for rate in contest["loop"]["rates"])


def test_bench_of_a_backend_that_fails_is_a_problem_told_below(
    run: Any, counting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envpool_wrap.processes._WORKER", Path("/no/such/worker.py"))
    done = run("bench", counting, "--num-envs", 2, "--backend", "process", *QUICK, code=1)
    assert (
        "failed" in done.stdout and "process, 2 workers: PoolError: worker 1 could not start" in done.stdout
    )


def test_tune_prints_the_report_and_draws_it(run: Any, counting: str, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    said = run("tune", counting, "--num-envs", 2, *QUICK, "--plot", plot).stdout
    assert said.startswith("Counting_wrap: ") and "\nwhy\n" in said and "</svg>" in plot.read_text()
    values = json.loads(run("tune", counting, "--num-envs", 1, *QUICK, "--json").stdout)
    assert values["config"] == {"env_type": "gym", "num_envs": 1, "backend": "inline"}


@pytest.mark.parametrize("command", ["bench", "tune"])
def test_env_that_raises_is_shown_by_its_own_part_of_the_traceback(
    command: str, run: Any, my_env: Path, shared_modules: Path, own_home: Path
) -> None:
    (own_home / doctor.records.home().name).mkdir(parents=True)
    (doctor.records.home() / "modules").symlink_to(shared_modules)
    my_env.write_text(MY_ENV.replace("self.t += 1", "self.t += self.no_such_thing"))
    done = run(command, f"{my_env}:MyEnv", "--num-envs", 1, *QUICK, code=1)
    assert "no attribute 'no_such_thing'" in done.stderr
    assert done.stderr.count("File ") == 1 and f'File "{my_env}", line' in done.stderr


def test_plot_that_cannot_be_written_is_refused_before_anything_is_measured(run: Any, counting: str) -> None:
    done = run("tune", counting, *QUICK, "--plot", "/no/such/folder/plot.svg", code=2)
    assert (done.stdout, done.stderr) == (
        "",
        "error: --plot /no/such/folder/plot.svg: there is no folder /no/such/folder\n",
    )


def test_proposed_state_is_shown_whole(run: Any, my_env: Path, own_home: Path) -> None:
    pytest.importorskip("numba")
    said = run("generate", f"{my_env}:MyEnv", "--compiled", code=1).stderr
    assert "    state_envpool = {\n        'envid': np.int64,\n" in said and "--debug" not in said


@pytest.mark.parametrize("words", [["bench"], ["tune"], ["info"], ["generate"], ["no-such-command"]])
def test_missing_words_are_wrong_usage(words: list[str], run: Any) -> None:
    assert "Usage" in run(*words, code=2).stderr


@pytest.mark.parametrize(
    "option", [("--num-envs", 0), ("--seconds", 0), ("--backend", "gpu"), ("--nothing",)]
)
def test_bad_options_are_wrong_usage(option: tuple[Any, ...], run: Any, counting: str) -> None:
    assert "Usage" in run("bench", counting, *option, code=2).stderr


# The script itself


def test_version_and_help(run: Any) -> None:
    assert run("--version").stdout == f"{envpool_protocol.__version__}\n"
    assert "doctor" in run("--help").stdout


def test_package_is_the_script_too() -> None:
    words = [sys.executable, "-m", "envpool_wrap", "--version"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said == f"{envpool_protocol.__version__}\n"


def test_missing_extra_is_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "envpool_wrap.commands")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == "envpool-wrap needs typer: pip install 'envpool-wrapper[cli]'"


def test_script_is_installed_and_ends_with_the_commands_code(own_home: Path) -> None:
    script = Path(sysconfig.get_path("scripts"), "envpool-wrap")
    done = subprocess.run([script, "list"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("task_id")
    done = subprocess.run([script, "info", "Nobody_wrap"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith("error: no env is called 'Nobody_wrap'")


def test_reader_that_leaves_early_is_no_error_of_ours(own_home: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    script = Path(sysconfig.get_path("scripts"), "envpool-wrap")
    done = subprocess.run([script, "list"], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert done.stderr == ""


def test_other_missing_modules_are_not_taken_for_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envpool_wrap.commands", None)
    with pytest.raises(ImportError, match=r"envpool_wrap\.commands"):
        main()
