"""What grows, and how: cost with envs, workers and obs, the time to make a pool, memory over a long run."""

from __future__ import annotations

import gc
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.cell import Cell
from benchmarks.contenders import CONTENDERS
from benchmarks.envs import ENVS, OF_SIZE
from benchmarks.ours import Inline

NUM_ENVS = (64, 256, 1024, 4096, 16_384)
WORKERS = (1, 2, 4, 8, 16)
BACKENDS = ("ours-inline", "ours-thread", "ours-process")


@dataclass(frozen=True)
class MakeTime:
    """Seconds until a pool is made, beside building its envs in a loop."""

    env: str = "cartpole"
    num_envs: int = 1024
    contender: str = "ours-process"
    workers: int = 2
    times: int = 3

    def run(self) -> dict[str, Any]:
        env = ENVS[self.env]
        env.source(0)  # imports what it needs
        built, made = [], []
        for _ in range(self.times):
            start = time.perf_counter()
            envs = [env.source(i) for i in range(self.num_envs)]
            built.append(time.perf_counter() - start)
            del envs
            start = time.perf_counter()
            pool = CONTENDERS[self.contender](env, self.num_envs, self.workers)
            made.append(time.perf_counter() - start)
            pool.close()
        return {"built_seconds": built, "made_seconds": made}


@dataclass(frozen=True)
class Generation:
    """Seconds to generate an env's module."""

    env: str = "noop"
    force: bool = False

    def run(self) -> dict[str, Any]:
        from envpool_protocol import CppWrapperGenerator

        module = CppWrapperGenerator.generate_envpool_wrap(ENVS[self.env].source, force=self.force)
        return {"generation_seconds": module.seconds, "cached": module.cached}


@dataclass(frozen=True)
class Endurance:
    """Growth of memory and of references over many env-steps, after a tenth of them to warm up.

    The env hands out the same obs each time: a reference to it that is not given back shows.
    """

    steps: int = 10_000_000
    num_envs: int = 64
    env: str = "obs16"

    def run(self) -> dict[str, Any]:
        import psutil

        process = psutil.Process()
        env = ENVS[self.env]
        contender = Inline(env, self.num_envs, 1)
        pool, actions = contender.envs, env.actions(self.num_envs)[0]
        contender.reset()

        def play(batches: int) -> tuple[int, int]:
            """Resident bytes, and references to an obs, after so many batches."""
            for _ in range(batches):
                pool.step(actions)
            gc.collect()
            return process.memory_info().rss, sys.getrefcount(obs)

        obs = pool.get_attr("obs")[0]
        rss, references = play(self.steps // self.num_envs // 10)
        start = time.perf_counter()
        rss_after, references_after = play(self.steps // self.num_envs)
        seconds = time.perf_counter() - start
        contender.close()
        return {
            "seconds": seconds,
            "rss_growth": rss_after - rss,
            "reference_growth": references_after - references,
        }


GROUPS = ("num_envs", "workers", "obs", "make", "generation", "endurance")


def jobs(pace: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """All of them: kind, group and parameters. `pace` has rounds, seconds and alone of the cells."""
    pace = {"beside": (), **pace}
    cells = [
        *(("num_envs", Cell("noop", size, name, **pace)) for name in BACKENDS for size in NUM_ENVS),
        *(
            ("workers", Cell("spin100", 64, name, workers=workers, **pace))
            for name in BACKENDS[1:]
            for workers in WORKERS
        ),
        *(
            ("obs", Cell(f"obs{size}", 8, name, **{**pace, "beside": ("memcpy",)}))
            for name in ("ours-inline", "ours-process")
            for size in OF_SIZE
        ),
    ]
    return [
        *(("cell", group, asdict(cell)) for group, cell in cells),
        *(("make", "make", asdict(MakeTime(contender=name))) for name in BACKENDS),
        *(("generation", "generation", asdict(Generation(force=force))) for force in (True, False)),
        ("endurance", "endurance", asdict(Endurance())),
    ]


def envs_of(jobs: list[tuple[str, str, dict[str, Any]]]) -> list[str]:
    """The names of the envs that pools of ours step in these jobs."""
    names = {job.get("env", "noop") for _, _, job in jobs if job.get("contender", "ours").startswith("ours")}
    return [name for name in ENVS if name in names]
