"""Show that this image runs its envs, on every backend, as they were built, and without a compiler."""

import subprocess
from pathlib import Path

import numpy as np

import envpool_wrap
from envpool_protocol.compiler import find_compiler
from envpool_protocol.errors import BuildError

HERE = Path(__file__).parent
ENVS = ["CartPole_wrap", "MyEnv_wrap"]
STEPS = 300

try:
    raise SystemExit(f"there is a compiler: {find_compiler()}")
except BuildError:
    print("no compiler", flush=True)

subprocess.run(["sha256sum", "--check", "--ignore-missing", "SHA256SUMS"], cwd=HERE, check=True)

if (found := envpool_wrap.list_all_envs()) != ENVS:
    raise SystemExit(f"expected {ENVS}, found {found}")
for task_id in ENVS:
    for backend, workers in {"inline": 1, "thread": 2, "process": 2}.items():
        with envpool_wrap.make(task_id, "gym", num_envs=4, num_threads=workers, backend=backend) as pool:
            if "prebuilt" in repr(pool):
                raise SystemExit(f"the generated module is not used: {pool}")
            pool.reset()
            ends = 0
            for _ in range(STEPS):
                _, _, terminated, truncated, _ = pool.step(
                    np.stack([pool.action_space.sample() for _ in range(4)])
                )
                ends += int((terminated | truncated).sum())
            print(f"{task_id}, {backend}: {STEPS} steps of 4 envs, {ends} episodes ended")

print(f"\n{(HERE / 'results' / 'throughput.md').read_text('utf-8')}")
