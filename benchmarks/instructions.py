"""Instructions of a step, counted under callgrind: a guard against regressions that no noise can fool.

    python -m benchmarks.instructions              compare with instructions.json; the exit code is 1 if one
                                                   differs by more than 3 %
    python -m benchmarks.instructions --update     write down what is counted now

Counts depend on the compiler, Python and NumPy, so the baseline has one entry per toolchain; without an entry
for this one, the counts are shown and nothing is compared. Needs valgrind (tools/count-instructions gets it).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.counted import CASES, Case

BASELINE = Path(__file__).with_name("instructions.json")
FOLDER = Path(__file__).resolve().parent.parent / "build" / "benchmarks"
TOLERANCE = 0.03
Counts = dict[str, float]


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write the counts into the baseline")
    options = parser.parse_args()
    counts, here = count(), toolchain()
    entries = json.loads(BASELINE.read_text()) if BASELINE.exists() else []
    known = next((entry["instructions"] for entry in entries if entry["toolchain"] == here), None)
    if options.update:
        entries = [entry for entry in entries if entry["toolchain"] != here]
        entries.append({"toolchain": here, "instructions": counts})
        BASELINE.write_text(json.dumps(entries, indent=2) + "\n")
    print(table(counts, known))
    if known is None:
        print(f"The baseline has no entry for {here}: nothing was compared.")
    return 0 if options.update else int(bool(differences(counts, known or {})))


def differences(counts: Counts, baseline: Counts) -> list[str]:
    """The cases that differ from the baseline by more than the tolerance."""
    return [
        name
        for name, count in counts.items()
        if name in baseline and abs(count / baseline[name] - 1) > TOLERANCE
    ]


def table(counts: Counts, baseline: Counts | None) -> str:
    """One line per case."""
    wrong = differences(counts, baseline or {})
    lines = []
    for name, count in counts.items():
        before = (baseline or {}).get(name)
        beside = "" if before is None else f"  baseline {before:9,.0f}  {count / before - 1:+.1%}"
        lines.append(f"{name:32} {count:9,.0f}{beside}{'  MORE THAN 3 % OFF' if name in wrong else ''}")
    if wrong:
        lines.append(
            "If that is meant: python -m benchmarks.instructions --update, and say why in the commit."
        )
    return "\n".join(lines)


def toolchain() -> dict[str, str]:
    """What instruction counts depend on."""
    import numpy as np

    command = [*shlex.split(os.environ.get("CXX") or "c++"), "--version"]
    compiler = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return {
        "compiler": compiler,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
    }


def count() -> Counts:
    """The instructions of each case."""
    from benchmarks.library import build

    os.environ.setdefault("ENVPOOL_WRAP_HOME", str(FOLDER / "home-instructions"))
    control = build("callgrind_control")
    _generate()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        callgrind = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            f"--callgrind-out-file={out}",
            "-q",
        ]
        subprocess.run(
            [*_same_addresses(), *callgrind, sys.executable, "-m", "benchmarks.counted", str(control)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        found: Counts = {}
        for file in Path(folder).glob("out.*"):
            title, by_object = parse(file.read_text().splitlines())
            if title in CASES:
                found[title] = of_case(CASES[title], by_object)
    return {name: found[name] for name in CASES}


def _same_addresses() -> list[str]:
    """CPython's caches are hashed by addresses: at others, other lookups miss."""
    command = ["setarch", "-R"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return []
    return command if allowed else []


def of_case(case: Case, by_object: Mapping[str, int]) -> float:
    ours = re.compile(r"/(_core|_Noop_wrap)\.[^/]*\.so$")
    own = (cost for name, cost in by_object.items() if not case.engine_only or ours.search(name))
    return round(sum(own) / case.units, 1)


def parse(lines: Iterable[str]) -> tuple[str, dict[str, int]]:
    """The title of a callgrind file, and the instructions that each binary executed itself."""
    title, current, skip = "", "", False
    names: dict[str, str] = {}
    costs: dict[str, int] = {}
    for line in lines:
        if line.startswith("desc: Trigger: Client Request: "):
            title = line.rpartition(": ")[2]
        elif binary := re.fullmatch(r"(c?)ob=(\(\d+\))(?: (.*))?", line):
            called, number, name = binary.groups()
            names.setdefault(number, name or "")  # the name is there the first time only
            current = current if called else names[number]
        elif line.startswith("calls="):
            skip = True  # the next line is what the called function cost
        elif line[:1] in "0123456789+-*" and line:
            if not skip:
                costs[current] = costs.get(current, 0) + int(line.split()[1])
            skip = False
    return title, costs


def _generate() -> None:
    from benchmarks.envs import ENVS
    from envpool_protocol import CppWrapperGenerator

    CppWrapperGenerator.generate_envpool_wrap(ENVS["noop"].source)


if __name__ == "__main__":
    raise SystemExit(main())
