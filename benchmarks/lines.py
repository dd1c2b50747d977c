"""The JSON lines that jobs left behind, and what they say.

Those that took turns in a round saw the same machine: a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.envs import ENVS

Line = dict[str, Any]

_JOB = ("kind", "group", "env", "num_envs", "contender", "workers", "force")  # which job it is
_NAMED = {"env": "", "num_envs": " envs", "contender": "", "workers": " workers"}


def read(files: Iterable[Path]) -> list[Line]:
    """All lines, in the order of the tables of envs and contenders; of those of the same job, the last."""
    found: dict[Any, Line] = {}
    for file in files:
        for text in file.read_text("utf-8").splitlines():
            line = json.loads(text)
            found[tuple(line.get(key) for key in _JOB)] = line
    envs, contenders = list(ENVS), list(CONTENDERS)

    def place(line: Line) -> tuple[int, ...]:
        env, contender = line.get("env", "noop"), line.get("contender", "loop")
        return envs.index(env), line.get("num_envs", 0), contenders.index(contender), line.get("workers", 0)

    return sorted(found.values(), key=place)


def ratios(line: Line, over: str, of: str = "contender") -> list[float]:
    """The rates of `of` over those of `over`, round by round; none if one of them did not take turns."""
    pairs = zip(line.get(f"{of}_rate", ()), line.get(f"{over}_rate", ()), strict=False)
    return [one / other for one, other in pairs]


def ceilings(lines: Iterable[Line], env: str) -> list[float]:
    """The machine's ceiling over the loop, in all rounds of all cells of an env."""
    return [ratio for line in lines if line["env"] == env for ratio in ratios(line, "loop", "ceiling")]


def cpu_ratio(line: Line) -> float:
    """CPU time per env-step over the loop's."""
    pairs = zip(line["contender_cpu"], line["loop_cpu"], strict=True)
    return float(median(one / loop for one, loop in pairs))


def nanoseconds(line: Line, of: str = "contender") -> float:
    """Wall time per env-step."""
    return float(1e9 / median(line[f"{of}_rate"]))


def bytes_beyond(line: Line) -> float:
    """What the contender takes beyond this process as it was before, with the loop's envs in it."""
    return float(line["pss"] - line["pss_before"])


def name(line: Line) -> str:
    """Which job it is, in words."""
    said = (f"{line[key]}{unit}" for key, unit in _NAMED.items() if key in line)
    return ", ".join((line["group"], *said))


def summary(line: Line) -> str:
    """A line in a few words."""
    if line["status"] != "ok":
        return f"{name(line)}: {line['status']} {line.get('error', '')}".rstrip()
    if line["kind"] != "cell":
        rest = {key: value for key, value in line.items() if key not in (*_JOB, "status", "machine")}
        return f"{name(line)}: {rest}"
    facts = [
        f"{name(line)}: {spread(ratios(line, 'loop'))} × loop",
        *(f"{middle(ratios(line, limit))} × {limit}" for limit in ("ceiling", "bare") if ratios(line, limit)),
        f"CPU {number(cpu_ratio(line))} ×",
        f"{bytes_beyond(line) / 2**20:.0f} MB",
        f"idle {line['idle_percent']:.1f} %",
    ]
    return ", ".join(facts)


def middle(values: Iterable[float]) -> str:
    """The median, if there is one."""
    known = list(values)
    return number(median(known)) if known else ""


def spread(values: Iterable[float]) -> str:
    """The median, and the least and the greatest."""
    known = list(values)
    return f"{middle(known)} ({number(min(known))}–{number(max(known))})" if known else ""


def number(value: float) -> str:
    """Two digits that mean something."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
