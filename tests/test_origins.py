"""How another interpreter finds an env class: a newcomer's scripts, each run as a process."""

from __future__ import annotations

import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from envs import until
from newcomer import CACHED, COMPILED, GENERATE, IMPORTS, MADE, MAKE, MY_ENV, Newcomer

from envpool_protocol import origins
from envpool_protocol.errors import RegistrationError
from envpool_protocol.records import Origin
from envpool_protocol.sources import source_of

GENERATED = (COMPILED, CACHED)


# Where a class may come from. Each is used from another folder, in another process.


def use_from_elsewhere(user: Newcomer) -> str:
    return user.run(user.write("../elsewhere/use.py", MAKE), cwd=user.folder.parent)


def test_class_of_a_script_is_found_from_another_folder(user: Newcomer) -> None:
    user.write("my_env.py", MY_ENV, GENERATE)
    assert user.run("my_env.py") in GENERATED
    assert user.run("my_env.py") == CACHED
    assert use_from_elsewhere(user) == MADE


def test_script_is_run_once_when_it_is_used_not_once_per_env(user: Newcomer) -> None:
    user.write("my_env.py", "print('running', __name__ == '__main__')", MY_ENV, GENERATE)
    user.run("my_env.py")
    assert use_from_elsewhere(user) == "running False\n" + MADE


@pytest.mark.parametrize("name", ["my_env.py", "link.py"])
def test_script_that_pools_its_own_env_is_not_run_a_second_time(name: str, user: Newcomer) -> None:
    main = textwrap.indent(MAKE, "    ")
    path = user.write("my_env.py", "print('running')", MY_ENV, f"if __name__ == '__main__':{main}")
    (user.folder / "link.py").symlink_to(path)
    user.write("generate.py", "from my_env import *", GENERATE)
    user.run("generate.py")
    assert user.run(name) == "running\n" + MADE


@pytest.mark.parametrize("module", ["envs", "package", "package.envs", "package.deep.envs"])
def test_class_of_a_package_is_imported_as_it_was_with_its_relative_imports(
    module: str, user: Newcomer
) -> None:
    parts = module.split(".")
    for depth in range(1, len(parts)):
        user.write("/".join([*parts[:depth], "__init__.py"]))
    in_package = module != "envs"
    relative = "from .sizes import WIDTH\nfrom package.names import NAME" if in_package else ""
    file = "package/__init__.py" if module == "package" else module.replace(".", "/") + ".py"
    user.write(file, relative, MY_ENV)
    user.write(str(Path(file).parent / "sizes.py"), "WIDTH = 3")
    if in_package:
        user.write("package/names.py", "NAME = 'x'")
    user.write("generate.py", f"from {module} import *", GENERATE)
    assert user.run("generate.py") in GENERATED
    assert use_from_elsewhere(user) == MADE


def test_class_of_a_module_run_with_python_m_keeps_its_relative_imports(user: Newcomer) -> None:
    user.write("package/__init__.py")
    user.write("package/sizes.py", "WIDTH = 3")
    user.write("package/train.py", "from .sizes import WIDTH", MY_ENV, GENERATE)
    assert user.run("-m", "package.train") in GENERATED
    assert use_from_elsewhere(user) == MADE


def test_class_of_a_notebook_travels_by_value(user: Newcomer) -> None:
    generate = "made = CppWrapperGenerator.generate_envpool_wrap(MyEnv)"
    cells = [IMPORTS, MY_ENV, generate, MAKE]
    notebook = "\n".join(f"exec({cell!r}, cells)" for cell in cells)
    user.write("kernel.py", "cells = {'__name__': 'a_notebook'}", notebook)
    assert user.run("kernel.py") == MADE
    (user.folder / "kernel.py").unlink()
    assert use_from_elsewhere(user) == MADE


def test_class_typed_into_the_interpreter_travels_by_value(user: Newcomer) -> None:
    assert user.run("-c", f"{MY_ENV}{GENERATE}") in GENERATED
    assert use_from_elsewhere(user) == MADE


FUNCTION = """
from base import Base, AMOUNT
def make_class():
    class MyEnv(Base):
        def _step_envpool(self, action): self.t += AMOUNT
    return MyEnv
MyEnv = make_class()
"""


@pytest.mark.parametrize("file", ["my_env.py", "helper.py"], ids=["of a script", "of a module"])
def test_class_made_in_a_function_travels_by_value_with_what_it_imports(file: str, user: Newcomer) -> None:
    user.write("base.py", MY_ENV.replace("MyEnv(", "Base("), "AMOUNT = 1")
    user.write(file, IMPORTS, FUNCTION, GENERATE if file == "my_env.py" else "")
    if file == "helper.py":
        user.write("my_env.py", "from helper import *", GENERATE)
    assert user.run("my_env.py") in GENERATED
    assert use_from_elsewhere(user) == MADE


def test_env_whose_hooks_import_its_neighbours_works_from_another_folder(user: Newcomer) -> None:
    user.write("neighbour.py", "AMOUNT = 1")
    hook = (
        "    def _step_envpool(self, action):\n        from neighbour import AMOUNT\n        self.t += AMOUNT"
    )
    user.write("my_env.py", MY_ENV + hook, GENERATE)
    user.run("my_env.py")
    assert use_from_elsewhere(user) == MADE


def test_registered_arguments_travel_with_the_class(user: Newcomer) -> None:
    user.write("start.py", "class Start(int): pass")
    user.write(
        "my_env.py",
        "from start import Start",
        MY_ENV,
        "EnvManager.register_env(MyEnv, start=Start(5))",
        GENERATE,
    )
    user.run("my_env.py")
    assert use_from_elsewhere(user) == "made 16.0 (2, 3)\n"


# Decorators and names


DECORATED = MY_ENV.replace("class MyEnv", "@EnvManager.register_env\nclass MyEnv")


@pytest.mark.parametrize("first", ["make", "import"])
def test_decorated_class_may_be_imported_before_or_after_make_finds_it(first: str, user: Newcomer) -> None:
    """Else the second import of one file counts as a second class under the same task id."""
    user.write("my_env.py", DECORATED, GENERATE)
    user.run("my_env.py")
    user.write("use.py", *([MAKE, "import my_env"] if first == "make" else ["import my_env", MAKE]))
    assert user.run("use.py") == MADE


def test_script_named_like_the_envs_module_is_not_run_in_its_place(user: Newcomer) -> None:
    user.write("envs.py", MY_ENV)
    user.write("generate.py", "from envs import *", GENERATE)
    user.run("generate.py")
    assert user.run(user.write("../elsewhere/envs.py", MAKE)) == MADE


def test_callers_own_modules_stay_first_on_the_path(user: Newcomer) -> None:
    user.write("my_env.py", MY_ENV, GENERATE)
    user.run("my_env.py")
    user.write("use.py", "import sys; before = sys.path[:]", MAKE, "assert sys.path == before, sys.path")
    user.run("use.py")
    path = user.write("../elsewhere/use.py", "import sys; n = len(sys.path)", MAKE, "print(sys.path[n:])")
    assert user.run(path) == MADE + f"[{str(user.folder)!r}]\n"


# Scripts without the guard


UNGUARDED = "CppWrapperGenerator.generate_envpool_wrap(MyEnv)"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (UNGUARDED, "generate_envpool_wrap()"),
        ("import envpool_wrap; envpool_wrap.register(MyEnv)", "register()"),
    ],
)
def test_script_without_the_guard_gets_a_clear_error_and_does_not_run_itself_for_ever(
    user: Newcomer, call: str, told: str
) -> None:
    user.write("my_env.py", "open('runs', 'a').write('x')", MY_ENV, call)
    user.run("my_env.py")
    error = user.fail(user.write("use.py", MAKE))
    last = error.strip().splitlines()[-1]
    assert f"RegistrationError: {told} was reached while" in last
    assert str(user.folder / "my_env.py") in last and 'put it under `if __name__ == "__main__":`' in last
    assert (user.folder / "runs").read_text() == "xx"


def test_script_that_makes_a_pool_without_the_guard_gets_the_same_error(user: Newcomer) -> None:
    user.write("my_env.py", MY_ENV, UNGUARDED, MAKE)
    assert user.run("my_env.py") == MADE
    user.write("my_env.py", MY_ENV, MAKE)
    assert "RegistrationError: make() was reached while" in user.fail(user.write("use.py", MAKE))


def test_script_that_exits_is_an_error_not_a_silent_end_of_the_caller(user: Newcomer) -> None:
    user.write("my_env.py", MY_ENV, GENERATE, "import sys; sys.exit(0)")
    user.run("my_env.py")
    assert "cannot be loaded any more (SystemExit: 0)" in user.fail(user.write("use.py", MAKE))


# Changes after generation


@pytest.fixture
def generated(user: Newcomer) -> Newcomer:
    """A newcomer who has generated MyEnv from my_env.py."""
    user.write("my_env.py", MY_ENV, GENERATE)
    user.run("my_env.py")
    user.write("use.py", MAKE)
    return user


def test_changed_body_is_used_at_once_without_compiling_or_warning(generated: Newcomer) -> None:
    before = generated.builds
    generated.write("my_env.py", MY_ENV.replace("self.t += 1", "self.t += 2"), GENERATE)
    assert generated.run("use.py") == "made 12.0 (2, 3)\n"
    assert generated.builds == before


def test_changed_spaces_are_generated_again_with_a_warning_that_says_so(generated: Newcomer) -> None:
    generated.write("my_env.py", MY_ENV.replace("SIZE = 3", "SIZE = 4"), GENERATE)
    done = generated.attempt("use.py")
    assert done.stdout == "made 11.0 (2, 4)\n"
    assert (
        "MyEnv_wrap: MyEnv changed its spaces or hooks since then; its module is generated again"
        in done.stderr
    )
    assert generated.run("use.py") == "made 11.0 (2, 4)\n"


def test_new_optional_hook_is_called_without_being_asked_to_generate(generated: Newcomer) -> None:
    hook = "    def _truncated_envpool(self): return True"
    generated.write("my_env.py", MY_ENV + hook, GENERATE)
    generated.write("use.py", MAKE.replace("[0]\n", "[3]\n").replace("obs[1, 0]", "obs[1]"))
    done = generated.attempt("use.py")
    assert done.stdout == "made True (2,)\n" and "generated again" in done.stderr


def test_other_class_of_the_same_file_under_that_name_is_noticed(generated: Newcomer) -> None:
    """Only then: nothing of the file changed."""
    other = MY_ENV.replace("MyEnv", "Other").replace("SIZE", "WIDTH").replace("WIDTH = 3", "WIDTH = 4")
    generated.write("two.py", MY_ENV, other)
    generated.write("first.py", "from two import *", GENERATE)
    generated.attempt("first.py")
    generated.write("use.py", "from two import *", "EnvManager.register_env(Other, 'MyEnv')", MAKE)
    done = generated.attempt("use.py")
    assert done.stdout == "made 11.0 (2, 4)\n" and "generated again" in done.stderr


def test_space_that_depends_on_another_file_is_told_to_generate_again(user: Newcomer) -> None:
    user.write("size.py", "SIZE = 3")
    user.write("my_env.py", MY_ENV.replace("SIZE = 3", "from size import SIZE"), GENERATE)
    user.run("my_env.py")
    user.write("size.py", "SIZE = 5")
    error = user.fail(user.write("use.py", MAKE))
    assert "(5,)" in error and "has Box(-inf, inf, (3,), float32)" in error and "generate it again" in error


def test_deleted_file_is_an_error_that_says_where_it_was(generated: Newcomer) -> None:
    (generated.folder / "my_env.py").unlink()
    error = generated.fail("use.py")
    assert "RegistrationError: MyEnv_wrap was generated from MyEnv in" in error
    assert str(generated.folder / "my_env.py") in error and "If the class moved, run" in error


def test_renamed_class_is_an_error_that_says_where_it_was(generated: Newcomer) -> None:
    generated.write("my_env.py", MY_ENV.replace("MyEnv", "Renamed"))
    error = generated.fail("use.py")
    assert "RegistrationError: MyEnv_wrap was generated from MyEnv in" in error and "AttributeError" in error


def test_moved_class_works_again_after_generating_it_where_it_is(generated: Newcomer) -> None:
    (generated.folder / "my_env.py").rename(generated.folder / "moved.py")
    assert generated.run("moved.py") == CACHED
    assert generated.run("use.py") == MADE


def test_name_taken_over_by_another_file_is_a_warning_with_both_places(generated: Newcomer) -> None:
    generated.write("second.py", MY_ENV, GENERATE)
    done = generated.attempt("second.py")
    assert done.stdout == CACHED
    for fact in (
        "MyEnv_wrap stood for MyEnv in",
        "my_env.py and now stands for MyEnv in",
        "second.py; give one",
    ):
        assert fact in done.stderr


def test_deleted_module_is_generated_again_with_a_warning(generated: Newcomer) -> None:
    for module in generated.own_modules().rglob("*.so"):
        module.unlink()
    before = generated.builds
    done = generated.attempt("use.py")
    assert done.stdout == MADE and "is gone; its module is generated again" in done.stderr
    assert (generated.run("use.py"), generated.builds) == (MADE, before + 1)


def test_damaged_module_is_an_error_that_says_how_to_mend_it(generated: Newcomer) -> None:
    for module in generated.own_modules().rglob("*.so"):
        module.write_bytes(b"not a module")
    error = generated.fail("use.py")
    assert "BuildError" in error and "cannot be loaded" in error
    mend = "CppWrapperGenerator.generate_envpool_wrap('MyEnv_wrap', force=True)"
    assert mend in error
    generated.run("-c", f"from envpool_protocol import CppWrapperGenerator; {mend}")
    assert generated.run("use.py") == MADE


# What cannot travel


def test_class_that_cannot_be_pickled_is_refused_before_anything_is_compiled(user: Newcomer) -> None:
    closure = FUNCTION.replace("AMOUNT\n    return", "AMOUNT if lock else 0\n    return")
    user.write("base.py", MY_ENV.replace("MyEnv(", "Base("), "AMOUNT = 1")
    held = "def make_class():\n    import threading\n    lock = threading.Lock()"
    user.write("my_env.py", IMPORTS, closure.replace("def make_class():", held), GENERATE)
    error = user.fail("my_env.py")
    assert "RegistrationError: make_class.<locals>.MyEnv cannot be pickled" in error and user.builds == 0


def test_registered_argument_that_cannot_be_pickled_is_refused() -> None:
    import threading

    from envs import Counting

    source = source_of(Counting, kwargs={"ends_after": threading.Lock()})
    with pytest.raises(RegistrationError, match=r"the arguments of Counting cannot be pickled \(TypeError"):
        origins.origin_of(source)


def test_place_is_told_in_words() -> None:
    there = Origin("package.envs", "MyEnv", "/a/envs.py", "/a", None, None, None)
    assert str(there) == "MyEnv in /a/envs.py"
    assert str(Origin("__main__", "MyEnv", None, None, None, "…", None)) == "MyEnv in __main__"


# Other sources than classes with hooks


GYM_ENV = """
import gymnasium
class Walk(gymnasium.Env):
    def __init__(self, start=0):
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space = spaces.Discrete(2)
        self.start = start
    def reset(self, *, seed=None, options=None):
        self.t = self.start
        return self.obs(), {}
    def step(self, action):
        self.t += 1
        return self.obs(), 1.0, False, False, {}
    def obs(self): return np.array([self.t], np.float64)
"""
USE = """
import envpool_wrap as envpool
name, = envpool.list_all_envs()
for backend in ("inline", "process"):
    with envpool.make(name, env_type="gymnasium", num_envs=2, backend=backend) as pool:
        pool.reset()
        print(name, pool.step([0, 1])[0].ravel().tolist())
"""
SOURCES = {
    "class": ("", "Walk", "Walk"),
    "class with arguments": ("EnvManager.register_env(Walk, start=4)", "Walk", "Walk"),
    "function": ("def make_walk(envid, start=4): return Walk(start)", "make_walk", "make_walk"),
    "lambda": ("EnvManager.register_env(lambda envid: Walk(4), 'Short')", "'Short_wrap'", "Short"),
    "id of this file": (
        "import sys; sys.modules.setdefault('walks', sys.modules[__name__])\n"
        "gymnasium.register('my/Walk-v2', 'walks:Walk', max_episode_steps=7, kwargs={'start': 4})",
        "'my/Walk-v2'",
        "my_Walk-v2",
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_other_sources_are_found_from_another_folder_on_every_backend(kind: str, user: Newcomer) -> None:
    before, env, name = SOURCES[kind]
    generate = f"if __name__ == '__main__': CppWrapperGenerator.generate_envpool_wrap({env})"
    user.write("walks.py", IMPORTS, GYM_ENV, before, generate)
    user.run("walks.py")
    start = 1.0 if kind == "class" else 5.0
    said = user.run(user.write("../elsewhere/use.py", USE), cwd=user.folder.parent)
    assert said == f"{name}_wrap [{start}, {start}]\n" * 2


def test_id_of_an_installed_package_is_found_without_importing_it_first(user: Newcomer) -> None:
    make = "from envpool_protocol import CppWrapperGenerator as g; g.generate_envpool_wrap('CartPole-v1')"
    user.run("-c", make)
    code = "import sys, envpool_wrap as e; print(e.list_all_envs(), 'gymnasium' in sys.modules)"
    assert user.run("-c", code) == "['CartPole-v1_wrap'] False\n"
    assert "CartPole-v1_wrap [" in user.run(user.write("use.py", USE))


def test_module_of_an_id_that_makes_pools_when_imported_starts_no_workers_without_end(
    user: Newcomer,
) -> None:
    user.write("walks.py", IMPORTS, GYM_ENV)
    user.write(
        "generate.py",
        "import gymnasium",
        "from envpool_protocol import CppWrapperGenerator",
        "gymnasium.register('Walk-v0', 'walks:Walk')",
        "CppWrapperGenerator.generate_envpool_wrap('Walk-v0')",
    )
    user.run("generate.py")
    user.write("walks.py", "open('runs', 'a').write('x')", USE, IMPORTS, GYM_ENV)
    error = user.fail(user.write("use.py", USE))
    assert "RegistrationError: make() was reached while" in error
    assert (user.folder / "runs").read_text() == "x"


def test_function_that_cannot_be_pickled_is_refused(user: Newcomer) -> None:
    user.write(
        "walks.py",
        IMPORTS,
        GYM_ENV,
        "import threading",
        "def held(lock): return lambda envid: Walk(4) if lock else None",
        "EnvManager.register_env(held(threading.Lock()), 'Held')",
        "if __name__ == '__main__': CppWrapperGenerator.generate_envpool_wrap('Held_wrap')",
    )
    assert "cannot be pickled" in user.fail("walks.py") and user.builds == 0


# Threads that look for envs at the same time.


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, threading.Event]]:
    """A file whose import is under way in another thread, and waits for the event; no import finds it."""
    entered, gate = threading.Event(), threading.Event()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "at_the_gate", lambda: (entered.set(), gate.wait()), raising=False)
    file = tmp_path / "json.py"
    file.write_text("import sys\nsys.at_the_gate()\nclass Env: pass\n")
    thread = threading.Thread(target=origins.object_in, args=(file, "Env"))
    thread.start()
    entered.wait()
    yield file, gate
    gate.set()
    thread.join()


def test_second_thread_finds_half_a_module(slow: tuple[Path, threading.Event]) -> None:
    file, gate = slow
    found: list[object] = []

    def find() -> None:
        found.append(origins.object_in(file, "Env"))

    def waits() -> bool:
        frame = sys._current_frames().get(second.ident or 0)
        return frame is not None and frame.f_code.co_name == "_import_from"

    second = threading.Thread(target=find)
    second.start()
    until(lambda: not second.is_alive() or waits())
    gate.set()
    second.join()
    assert found == [origins.object_in(file, "Env")]


@pytest.mark.usefixtures("slow")
def test_pool_is_refused_because_another_thread_imports_an_env() -> None:
    origins.refuse_while_importing("make()")


def test_thread_that_an_import_waits_for_waits_for_the_import(
    slow: tuple[Path, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origins, "_PATIENCE", 0.01)
    with pytest.raises(RegistrationError, match=r"Env in .*json\.py cannot be imported: another thread has"):
        origins.object_in(slow[0], "Env")
