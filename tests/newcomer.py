"""A newcomer at work: scripts in a folder, each run as a new process, with a home folder for the modules.

Newcomers share their modules, unless one asks for a cold start, so each distinct spec is compiled once in a
run. The compiler is a script that writes down what it is asked for.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

IMPORTS = """
import numpy as np
from gymnasium import spaces
from envpool_protocol import CppWrapperGenerator, EnvManager, EnvPoolProtocol
"""
MY_ENV = f"""
{IMPORTS}
SIZE = 3

class MyEnv(EnvPoolProtocol):
    def __init__(self, envid, start=0):
        self.envid, self.t, self.start = envid, start, start
        self.observation_space = spaces.Box(-np.inf, np.inf, (SIZE,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def _reset_envpool(self): self.t = self.start
    def _step_envpool(self, action): self.t += 1
    def _make_obs_envpool(self): return np.full((SIZE,), 10 * self.envid + self.t, np.float32)
    def _done_envpool(self): return False
    def _reward_envpool(self): return 1.0
"""
GENERATE = """
if __name__ == "__main__":
    made = CppWrapperGenerator.generate_envpool_wrap(MyEnv)
    print("generated", made.task_id, "cached" if made.cached else "compiled")
"""
COMPILED, CACHED = "generated MyEnv_wrap compiled\n", "generated MyEnv_wrap cached\n"

# Prints the last obs of env 1 after one step, and the shape of a batch.
MAKE = """
import numpy as np
import envpool_wrap as envpool
with envpool.make("MyEnv_wrap", env_type="gym", num_envs=2) as pool:
    pool.reset()
    obs = pool.step(np.zeros((2, 1), np.float32))[0]
print("made", obs[1, 0], obs.shape)
"""
MADE = "made 11.0 (2, 3)\n"


def compiler_script(path: Path, then: str = "") -> Path:
    """A compiler that appends its arguments to $CXX_LOG, one call per line, and runs `then` first."""
    real = next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))))
    log = 'if [ -n "$CXX_LOG" ]; then echo "$@" >> "$CXX_LOG"; fi'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{log}\n{then}\nexec {shlex.quote(real)} "$@"\n')
    path.chmod(0o755)
    return path


class Newcomer:
    """Someone with a folder, a home, a compiler and a Python; `modules`: the folder of shared modules."""

    def __init__(
        self,
        folder: Path,
        home: Path,
        compiler: Path,
        modules: Path | None = None,
        python: str | Path = sys.executable,
    ) -> None:
        self.folder, self.compiler, self._python = folder, compiler, str(python)
        self._log = folder.parent / f"{folder.name}.calls"
        folder.mkdir(parents=True, exist_ok=True)
        self.environ = {
            **os.environ,
            "ENVPOOL_WRAP_HOME": str(home),
            "CXX": str(compiler),
            "CXX_LOG": str(self._log),
            "PYTHONDONTWRITEBYTECODE": "1",  # two versions of a file may have the same time and size
        }
        self.home = home / str(sysconfig.get_config_var("SOABI"))
        if modules is not None:
            self.home.mkdir(parents=True)
            (self.home / "modules").symlink_to(modules)

    def own_modules(self) -> Path:
        """Make the shared modules this newcomer's own, to do harm to, and return their folder."""
        modules = self.home / "modules"
        shared = modules.resolve()
        modules.unlink()
        shutil.copytree(shared, modules)
        return modules

    @property
    def builds(self) -> int:
        """How often a module was compiled for this newcomer."""
        calls = self._log.read_text().splitlines() if self._log.exists() else []
        return sum(" -c " in call and "env.cc" in call for call in calls)

    def write(self, name: str, *parts: str) -> Path:
        """A file below the folder, made of these parts, each dedented."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(textwrap.dedent, parts)), "utf-8")
        return path

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """What `python *command` prints. It must succeed and be silent on stderr."""
        done = self.attempt(*command, cwd=cwd)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def fail(self, *command: str | Path, cwd: Path | None = None) -> str:
        """The traceback of `python *command`, which must end with one."""
        done = self.attempt(*command, cwd=cwd)
        assert done.returncode == 1 and "Traceback" in done.stderr, done.stdout + done.stderr
        return done.stderr

    def attempt(self, *command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `python *command` in the folder, or in `cwd`."""
        return subprocess.run(
            [self._python, *map(str, command)],
            cwd=cwd or self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """`python *command`, running, in a process group of its own."""
        return subprocess.Popen(
            [self._python, *map(str, command)],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
