"""Measure pools, the loop and other libraries; make tables and plots of what was measured.

    python -m benchmarks                          our pools on every env, with 8 and 64 envs
    python -m benchmarks --all                    every contender that is installed
    python -m benchmarks --quick --env noop       a first look
    python -m benchmarks growth                   envs, workers, size of obs, time to make, memory, leaks
    python -m benchmarks table FILE...            markdown
    python -m benchmarks plot FILE... --into DIR  SVG files

Each cell runs in a fresh process and is a JSON line of the result file. Modules are generated into a folder
of the benchmark's own. A library that is not installed is reported as such. The exit code is 1 if something
failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sysconfig
from dataclasses import asdict
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "build" / "benchmarks"
QUICK = {"rounds": 3, "seconds": 0.03, "alone": 0.2}
Job = tuple[str, str, dict[str, Any]]


def main() -> int:
    """The exit code."""
    options = _parser().parse_args()
    os.environ.setdefault("ENVPOOL_WRAP_HOME", str(FOLDER / f"home-{sysconfig.get_config_var('SOABI')}"))
    if options.command == "table":
        from benchmarks.lines import read
        from benchmarks.report import tables

        print(tables(read(options.files)), end="")
        return 0
    if options.command == "plot":
        from benchmarks.lines import read
        from benchmarks.plots import draw

        print(*draw(read(options.files), options.into), sep="\n")
        return 0
    pace = {key: value for key, value in vars(options).items() if key in QUICK and value is not None}
    pace = {**(QUICK if options.quick else {}), **pace}
    jobs = _growth(options, pace) if options.command == "growth" else _pools(options, pace)
    return run(jobs, options.out or FOLDER / f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}.jsonl")


def run(jobs: list[Job], file: Path) -> int:
    """Run them one after the other, each line into the file as soon as it is there."""
    from benchmarks.growth import envs_of
    from benchmarks.jobs import run_job
    from benchmarks.lines import read, summary
    from benchmarks.report import tables

    file.parent.mkdir(parents=True, exist_ok=True)
    print(f"{len(jobs)} jobs, results in {file}", flush=True)
    ready = [run_job("generation", "generation", {"env": env}) for env in envs_of(jobs)]
    failed = [line for line in ready if line["status"] == "failed"]
    for line in failed:
        print(summary(line), flush=True)
    for number, (kind, group, parameters) in enumerate(jobs, 1):
        missing = _missing(parameters)
        line = {"kind": kind, "group": group, **parameters, "status": "not installed", "needs": missing}
        if not missing:
            line = run_job(kind, group, parameters)
        with file.open("a") as lines:
            print(json.dumps(line), file=lines)
        print(f"[{number}/{len(jobs)}] {summary(line)}", flush=True)
        failed += [line] if line["status"] == "failed" else []
    print(f"\n{tables(read([file]))}", end="")
    return 1 if failed else 0


def _missing(parameters: dict[str, Any]) -> str:
    """The module that this job needs and that is not installed, or nothing."""
    import importlib.util

    from benchmarks.contenders import CONTENDERS
    from benchmarks.envs import ENVS

    needs = [ENVS[parameters.get("env", "noop")].needs, CONTENDERS[parameters.get("contender", "loop")].needs]
    return next((module for module in needs if importlib.util.find_spec(module) is None), "")


def _pools(options: argparse.Namespace, pace: dict[str, Any]) -> list[Job]:
    from benchmarks.cell import Cell
    from benchmarks.contenders import CONTENDERS, OURS
    from benchmarks.envs import ENVS

    asked = options.contender or (list(CONTENDERS) if options.all else ["loop", *OURS])
    cells = [
        Cell(env, num_envs, name, options.workers, _beside(name, env), **pace)
        for env in options.env or [name for name in ENVS if not name.startswith("obs")]
        for num_envs in options.num_envs
        for name in asked
        if env in CONTENDERS[name].only or not CONTENDERS[name].only
    ]
    return [("cell", "pools", asdict(cell)) for cell in cells]


def _beside(contender: str, env: str) -> tuple[str, ...]:
    from benchmarks.envs import ENVS

    with_bare = contender in ("ours-inline", "loop") and ENVS[env].has_hooks
    return ("ceiling", "bare") if with_bare else ("ceiling",)


def _growth(options: argparse.Namespace, pace: dict[str, Any]) -> list[Job]:
    from benchmarks.growth import jobs

    return [job for job in jobs(pace) if not options.group or job[1] in options.group]


def _parser() -> argparse.ArgumentParser:
    from benchmarks.contenders import CONTENDERS
    from benchmarks.envs import ENVS
    from benchmarks.growth import GROUPS

    pace = argparse.ArgumentParser(add_help=False)
    pace.add_argument("--quick", action="store_true", help="few short rounds: to see that it works")
    pace.add_argument("--rounds", type=int, help="rounds per cell (default 15)")
    pace.add_argument(
        "--seconds", type=float, help="how long each one's turn lasts in a round (default 0.15)"
    )
    pace.add_argument("--alone", type=float, help="seconds a pool is left alone (default 2)")
    pace.add_argument("--out", type=Path, help="result file, appended to (default: a new one in build/)")

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[pace],
    )
    parser.add_argument("--env", type=_names(ENVS), help=f"some of {', '.join(ENVS)}")
    parser.add_argument("--num-envs", type=_numbers, default=[8, 64], help="such as 8,64")
    parser.add_argument("--contender", type=_names(CONTENDERS), help=f"some of {', '.join(CONTENDERS)}")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--all", action="store_true", help="every contender")
    commands = parser.add_subparsers(dest="command")
    growth = commands.add_parser("growth", parents=[pace])
    growth.add_argument("--group", type=_names(GROUPS), help=f"some of {', '.join(GROUPS)}")
    for name in ("table", "plot"):
        command = commands.add_parser(name)
        command.add_argument("files", type=Path, nargs="+")
        if name == "plot":
            command.add_argument("--into", type=Path, required=True)
    return parser


def _names(known: Any) -> Any:
    def names(text: str) -> list[str]:
        wrong = [name for name in text.split(",") if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(known)}")
        return text.split(",")

    return names


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    raise SystemExit(main())
