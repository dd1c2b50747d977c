"""Modules with compiled hooks: built once, found again without Numba, put into wheels."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from newcomer import IMPORTS, Newcomer

import envpool_wrap
from envpool_protocol import CppWrapperGenerator, EnvManager, records
from envpool_protocol.compiled.hooks import CompiledHooks
from envpool_wrap import registry

pytest.importorskip("numba")

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples" / "compiled"))
from cart_pole import CartPole

NO_NUMBA = "import sys; sys.modules['numba'] = sys.modules['llvmlite'] = None\n"


@pytest.fixture(scope="module")
def task(home: Path) -> str:
    return CppWrapperGenerator.generate_envpool_wrap(CartPole, compiled=True).task_id


def test_what_was_built_is_found_at_once_and_without_numba(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CompiledHooks, "object_code", lambda self: pytest.fail("compiled again"))
    start = time.perf_counter()
    again = CppWrapperGenerator.generate_envpool_wrap(CartPole)
    assert again.cached and again.task_id == task
    assert time.perf_counter() - start < 5  # 0.05 s, on a machine that does nothing else


def test_the_record_says_so_and_the_source_is_found_by_it(task: str) -> None:
    record = records.load(task)
    assert record is not None and record.description["compiled"]["state_bytes"] == 64
    assert record.description["compiled"]["fields"] == ["x", "speed", "angle", "spin", "random"]
    script = (
        f"{NO_NUMBA}from envpool_protocol import EnvManager\n"
        f"source = EnvManager.source({task!r})\n"
        "assert source.compiled\n"
        "import json; print(json.dumps(source.describe().to_json()['compiled']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == record.description["compiled"]


def test_the_module_loads_without_numba(task: str) -> None:
    path = CppWrapperGenerator.generate_envpool_wrap(CartPole).path
    script = (
        f"{NO_NUMBA}import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location({path.name.partition('.')[0]!r}, {str(path)!r})\n"
        "spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_numba_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "envpool_protocol.compiled.kernel", raising=False)
    monkeypatch.setitem(sys.modules, "envpool_protocol.compiled.kernel", None)
    with pytest.raises(ImportError, match=r"pip install 'envpool-wrapper\[compiled\]'"):
        CppWrapperGenerator.generate_envpool_wrap(CartPole, compiled=True, force=True)


def test_the_command_line_compiles_and_tells_a_refusal(tmp_path: Path, registry: None) -> None:
    from typer.testing import CliRunner

    from envpool_wrap.commands import app

    example = Path(__file__).resolve().parent.parent / "examples" / "compiled" / "cart_pole.py"
    done = CliRunner().invoke(app, ["generate", f"{example}:CartPole", "--compiled", "--json"])
    assert done.exit_code == 0, done.output
    assert records.load("CartPole_wrap").description["compiled"] is not None  # type: ignore[union-attr]
    text = example.read_text().replace("self.x += self.dt", "self.fuel = 1.0\n        self.x += self.dt")
    (tmp_path / "thirsty.py").write_text(text.replace("class CartPole", "class Thirsty"))
    refused = CliRunner().invoke(app, ["generate", f"{tmp_path / 'thirsty.py'}:Thirsty", "--compiled"])
    assert refused.exit_code == 1
    assert "Thirsty._step_envpool does not compile (thirsty.py:" in refused.output
    assert "hooks set self.fuel, which is not declared; add `'fuel': np.float64`" in refused.output


def test_both_forms_of_an_env_are_kept(task: str, registry: None) -> None:
    compiled = CppWrapperGenerator.generate_envpool_wrap(CartPole, compiled=True)
    interpreted = CppWrapperGenerator.generate_envpool_wrap(CartPole, compiled=False)
    assert compiled.path != interpreted.path
    assert "compiled" not in records.load(task).description  # type: ignore[union-attr]
    assert CppWrapperGenerator.generate_envpool_wrap(CartPole, compiled=True).cached
    assert EnvManager.source(task).compiled


ADDING = f"""
{IMPORTS}
import amounts

class Adding(EnvPoolProtocol):
    observation_space, action_space = spaces.Box(-np.inf, np.inf, (1,), np.float64), spaces.Discrete(2)
    state_envpool = {{"x": np.float64}}
    def _reset_envpool(self): self.x = 0.0
    def _step_envpool(self, action): self.x += amounts.STEP
    def _make_obs_envpool(self): return np.array([self.x])
    def _done_envpool(self): return False
    def _reward_envpool(self): return 1.0

if __name__ == "__main__":
    CppWrapperGenerator.generate_envpool_wrap(Adding, compiled=True)
"""
STEP = """
import envpool_wrap
for _ in range(2):
    with envpool_wrap.make("Adding_wrap", "gym") as pool:
        pool.reset()
        print("compiled hooks" in repr(pool), pool.step([0])[0].item())
"""


def test_hooks_that_changed_are_compiled_again_with_a_warning_whichever_file_it_was_in(
    user: Newcomer,
) -> None:
    user.write("adding.py", ADDING)
    user.write("amounts.py", "STEP = 1.0")
    user.run("adding.py")
    user.write("use.py", STEP)
    assert user.run("use.py") == "True 1.0\n" * 2
    user.write("amounts.py", "STEP = 2.5")
    done = user.attempt("use.py")
    assert done.stdout == "True 2.5\n" * 2
    assert (
        done.stderr.count("Adding changed its spaces or hooks since then; its module is generated again") == 1
    )
    assert user.run("use.py") == "True 2.5\n" * 2


@pytest.mark.usefixtures("registry")
def test_hooks_stay_compiled_where_the_class_is_registered_without_a_word(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_generate", lambda source: pytest.fail("generated again"))
    EnvManager.register_env(CartPole)
    with envpool_wrap.make(task, "gym") as pool:
        assert "compiled hooks" in repr(pool)


@pytest.mark.usefixtures("registry")
def test_hooks_are_compiled_for_a_class_registered_so_after_it_was_generated_interpreted(task: str) -> None:
    CppWrapperGenerator.generate_envpool_wrap(CartPole, compiled=False)
    EnvManager.register_env(CartPole, compiled=True)
    with pytest.warns(UserWarning, match="generated again"), envpool_wrap.make(task, "gym") as pool:
        assert "compiled hooks" in repr(pool)


def test_a_wheel_holds_the_object_code_and_is_the_same_each_time(task: str, tmp_path: Path) -> None:
    wheels = [CppWrapperGenerator.build_wheel(task, tmp_path / str(n)) for n in range(2)]
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = wheel.namelist()
        [module] = [name for name in names if name.endswith(".so")]
        record: dict[str, Any] = json.loads(wheel.read(next(n for n in names if n.endswith("_wrap.json"))))
        wheel.extract(module, tmp_path)
    assert record["description"]["compiled"]["state_bytes"] == 64
    assert b"division by zero" in (tmp_path / module).read_bytes(), "what hooks raise is in it"
    assert not any(name.endswith(".o") for name in names)
