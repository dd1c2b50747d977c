"""Envs in other processes, wherever their class and their arguments come from: a newcomer's scripts."""

from __future__ import annotations

import os
import textwrap
from typing import Any

import numpy as np
import pytest
from envs import Counting, Faulty
from newcomer import CACHED, GENERATE, IMPORTS, MY_ENV, Newcomer

import envpool_wrap
from envpool_protocol.errors import PoolError

HOME = os.getpid()

# Prints the last obs of env 1 after one step, the backend, and the exception of a step that fails.
POOL = """
import numpy as np
import envpool_wrap as envpool
from envpool_protocol.errors import EnvError
with envpool.make("MyEnv_wrap", env_type="gym", num_envs=2, backend="process", num_threads=2) as pool:
    pool.reset()
    obs = pool.step(np.zeros((2, 1), np.float32))[0]
    print("made", obs[1, 0], pool.config["backend"])
    try:
        pool.step(np.ones((2, 1), np.float32))
    except EnvError as error:
        print(type(error.__cause__).__name__, error.__cause__, len(error.errors))
        mine = [isinstance(error.__cause__, kind) for kind in KINDS]
        print("raise Mine" in error.errors[1].traceback, *mine)
"""
POOLED = "made 11.0 process\nMine env 0 says no 2\nTrue\n"
KNOWN = POOLED.replace("True", "True True")
FAILING = (
    MY_ENV.replace("self.t += 1", "self.t += 1; fail(self, action)")
    + """
class Mine(Exception): pass
def fail(env, action):
    if action[0] == 1:
        raise Mine(f"env {env.envid} says no")
"""
)

LEVEL = """
class Level: number = 3
MyEnv.level = Level()
MyEnv.add = lambda env, level: level.number + env.envid
"""


def test_class_of_the_script_itself_and_its_exceptions(user: Newcomer) -> None:
    use = textwrap.indent("KINDS = [Mine]" + POOL, "    ")
    user.write("my_env.py", "print('file')", FAILING, GENERATE, f"if __name__ == '__main__':\n{use}")
    assert user.run("my_env.py").replace("compiled", "cached") == "file\n" + CACHED + KNOWN


@pytest.mark.parametrize("module", ["my_env", "package.my_env"])
def test_class_of_a_module_that_the_script_imports(module: str, user: Newcomer) -> None:
    if "." in module:
        user.write("package/__init__.py")
    user.write(module.replace(".", "/") + ".py", FAILING)
    user.write("use.py", f"from {module} import *", GENERATE, "KINDS = [Mine]", POOL)
    assert user.run("use.py").replace("compiled", "cached") == CACHED + KNOWN


def test_class_of_a_notebook(user: Newcomer) -> None:
    generate = "made = CppWrapperGenerator.generate_envpool_wrap(MyEnv)"
    cells = [IMPORTS, FAILING, generate, "KINDS = [Mine]", POOL]
    user.write("kernel.py", "\n".join(f"exec({cell!r}, globals())" for cell in cells))
    # The text of the line is in no file, and so not in the worker; its number is.
    assert user.run("kernel.py") == KNOWN.replace("True True", "False True")


def test_class_found_by_its_file(user: Newcomer) -> None:
    """Another script generated it; nobody imports it here, and no import would find it."""
    user.write("my_env.py", FAILING, GENERATE)
    user.run("my_env.py")
    use = user.write("../elsewhere/use.py", "KINDS = []", POOL)
    assert user.run(use, cwd=user.folder.parent) == POOLED


def test_instance_of_a_class_in_that_file_is_given_to_a_method(user: Newcomer) -> None:
    user.write("my_env.py", MY_ENV, LEVEL, GENERATE)
    user.run("my_env.py")
    script = """
    import envpool_wrap
    with envpool_wrap.make("MyEnv_wrap", "gym", num_envs=2, backend="process", caller_steps=False) as pool:
        print(pool.call("add", *pool.get_attr("level", env_id=0)))
    """
    use = user.write("../elsewhere/use.py", script)
    assert user.run(use, cwd=user.folder.parent) == "[3, 4]\n"


def test_class_made_in_a_function_with_what_it_closes_over(user: Newcomer) -> None:
    made = "def make_class(amount):\n" + textwrap.indent(FAILING, "    ") + "\n    return MyEnv\n"
    made = made.replace("self.t += 1;", "self.t += amount;")
    user.write("use.py", IMPORTS, made, "MyEnv = make_class(1)", GENERATE, "KINDS = []", POOL)
    assert user.run("use.py").replace("compiled", "cached") == CACHED + POOLED


def test_what_the_script_defines_reaches_envs_that_live(user: Newcomer) -> None:
    """Values to set, options, and classes to ask for: the worker's `__main__` is another."""
    script = """
    import gymnasium
    import envpool_wrap
    class Outer(gymnasium.Wrapper): pass
    class Other(gymnasium.Wrapper): pass
    class Level:
        def __init__(self, number): self.number = number
    env_fns = [lambda: Outer(gymnasium.make("CartPole-v1"))] * 2
    with envpool_wrap.from_env_fns(env_fns, backend="process", caller_steps=False) as pool:
        print(pool.env_is_wrapped(Outer), pool.env_is_wrapped(Other), pool.env_is_wrapped(gymnasium.Wrapper))
        pool.set_attr("level", Level(3))
        print(pool.get_attr("level.number"), *[type(level) is Level for level in pool.get_attr("level")])
    """
    expected = "[True, True] [False, False] [True, True]\n(3, 3) True True\n"
    assert user.run(user.write("use.py", script)) == expected


def test_global_state_of_the_script_is_that_of_the_time_of_make(user: Newcomer) -> None:
    state = MY_ENV.replace(
        "def _reset_envpool(self): self.t = self.start", "def _reset_envpool(self): self.t = LEVEL[0]"
    )
    user.write("my_env.py", state, "LEVEL = [0]", GENERATE, "LEVEL[0] = 5", POOL.split("    try:")[0])
    assert user.run("my_env.py").endswith("made 16.0 process\n")


def test_module_that_makes_a_pool_when_imported_starts_workers_without_end(user: Newcomer) -> None:
    user.write(
        "my_env.py", MY_ENV, GENERATE.replace('if __name__ == "__main__":', "if True:"), "KINDS = []", POOL
    )
    error = user.fail(user.write("use.py", "import my_env"))
    assert "PoolError: worker 1 could not start" in error
    assert "RegistrationError: make() was reached while a worker process was importing" in error


def test_worker_has_the_folder_and_the_path_of_the_caller(user: Newcomer) -> None:
    user.write("lib/helper.py", "VALUE = 7")
    user.write("data/start", "3")
    reads = MY_ENV.replace(
        "self.envid, self.t, self.start = envid, start, start",
        "import helper; self.envid, self.t = envid, 0; self.start = helper.VALUE + int(open('start').read())",
    )
    moved = "import os, sys; sys.path.append(os.path.abspath('lib')); os.chdir('data')"
    user.write("my_env.py", moved, reads, GENERATE, POOL.split("    try:")[0])
    assert user.run("my_env.py").endswith("made 21.0 process\n")


def test_worker_runs_without_the_options_of_the_callers_python(user: Newcomer) -> None:
    script = """
    import sys
    import gymnasium
    import envpool_wrap
    class Told(gymnasium.Wrapper):
        def options(self): return sys.flags.optimize, sys.flags.utf8_mode, sys.warnoptions
    env_fns = [lambda: Told(gymnasium.make("CartPole-v1"))]
    with envpool_wrap.from_env_fns(env_fns, backend="process") as pool:
        print(*pool.call("options"))
    """
    told = user.run("-O", "-X", "utf8", "-W", "ignore::UserWarning", user.write("use.py", script))
    assert told == "(1, 1, ['ignore::UserWarning'])\n"


# Arguments of the constructor


@pytest.mark.parametrize(
    "given",
    [
        {"ends_after": 7},
        [{"ends_after": 7}] * 4,
        lambda env_id: {"ends_after": 7},
        lambda env_id, least=3: {"ends_after": max(least, 7)},
    ],
)
def test_arguments_do_not_reach_another_process(make: Any, given: Any) -> None:
    pool = make(Counting, num_envs=4, backend="process", num_threads=3, env_kwargs=given)
    assert pool.get_attr("ends_after") == [7] * 4


def test_lambda_among_the_arguments_is_refused(make: Any) -> None:
    offset = 5
    kwargs = {"error": lambda x: x + offset}
    pool = make(Faulty, num_envs=4, backend="process", num_threads=3, env_kwargs=kwargs)
    assert pool.call("error", 1) == [6] * 4


def test_arguments_that_cannot_be_pickled_leave_a_process_or_say_nothing(task_id: Any) -> None:
    import threading

    name = task_id(Faulty)
    with pytest.raises(TypeError, match=r"cannot pickle '_thread.lock' object"):
        envpool_wrap.make(name, "gym", num_envs=2, backend="process", env_kwargs={"error": threading.Lock()})


class Homebody:
    def __reduce__(self) -> Any:
        return _remake, (HOME,)


def _remake(home: int) -> Any:
    if os.getpid() != home:
        raise ImportError("no module named 'only_at_home'")
    return Homebody()


@pytest.mark.parametrize("workers", [1, 3])
def test_arguments_that_the_worker_cannot_read_are_not_told(task_id: Any, workers: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PoolError, match="worker 0 could not start") as caught:
        envpool_wrap.make(
            task_id(Faulty),
            "gym",
            num_envs=4,
            backend="process",
            num_threads=workers,
            caller_steps=False,
            env_kwargs={"error": Homebody()},
        )
    assert "ImportError: no module named 'only_at_home'" in str(caught.value)
    assert "_remake" in str(caught.value)
    del caught
    assert len(os.listdir("/proc/self/fd")) == before


def test_env_changes_what_the_caller_holds(make: Any) -> None:
    """Another process has its own copy; in this process env and caller share the object."""
    shared = [1]
    pool = make(Faulty, num_envs=2, backend="process", caller_steps=False, env_kwargs={"error": shared})
    pool.call("__getattribute__", "error")[0].append(2)
    assert (pool.get_attr("error"), shared) == ([[1], [1]], [1])
    assert pool.step(np.zeros(2, int))[0].tolist() == [[0, 0], [1, 0]]
