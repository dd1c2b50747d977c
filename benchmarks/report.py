"""Markdown tables of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from benchmarks.lines import (
    Line,
    bytes_beyond,
    ceilings,
    cpu_ratio,
    middle,
    nanoseconds,
    number,
    ratios,
    spread,
)


def tables(lines: Sequence[Line]) -> str:
    """All of them, in one text."""
    texts = [_machine(lines)]
    pools = [line for line in lines if line["group"] == "pools"]
    for size in sorted({line["num_envs"] for line in pools}):
        texts.append(_against_peers([line for line in pools if line["num_envs"] == size], size))
    for group, section in _SECTIONS.items():
        those = [line for line in lines if line["group"] == group and line["status"] == "ok"]
        if those:
            texts.append(section(those))
    return "\n\n".join(texts) + "\n"


def _machine(lines: Sequence[Line]) -> str:
    machines = [line["machine"] for line in lines if "machine" in line]
    if not machines:
        return "Nothing was measured."
    first, loads = machines[0], [machine["load"] for machine in machines]
    gil = "" if first["gil"] else ", free-threaded"
    return (
        f"{first['when'][:10]}, {first['cpu']}, {first['cores']} cores, Python {first['python']}{gil}, "
        f"NumPy {first['numpy']}; load average when a job started: {min(loads)} to {max(loads)}."
    )


def _against_peers(lines: Sequence[Line], num_envs: int) -> str:
    envs = list(dict.fromkeys(line["env"] for line in lines))
    found = {(line["contender"], line["env"]): line for line in lines}
    rows = []
    for contender in dict.fromkeys(line["contender"] for line in lines):
        there = (found.get((contender, env)) for env in envs)
        rows.append([contender, *("" if line is None else _ratio_or_status(line) for line in there)])
    rows.append(["*ceiling*", *(middle(ceilings(lines, env)) for env in envs)])
    return f"### {num_envs} envs: env-steps/s over the plain loop's\n\n" + _table(["", *envs], rows)


def _ratio_or_status(line: Line) -> str:
    return middle(ratios(line, "loop")) if line["status"] == "ok" else str(line["status"])


_DETAILS: dict[str, Callable[[Line], str]] = {
    "env": lambda line: line["env"],
    "contender": lambda line: line["contender"],
    "envs": lambda line: f"{line['num_envs']:,}",
    "× loop": lambda line: spread(ratios(line, "loop")),
    "× ceiling": lambda line: spread(ratios(line, "ceiling")),
    "ceiling × loop": lambda line: middle(ratios(line, "loop", "ceiling")),
    "× lockstep": lambda line: spread(ratios(line, "lockstep")),
    "lockstep × loop": lambda line: middle(ratios(line, "loop", "lockstep")),
    "× bare call": lambda line: spread(ratios(line, "bare")),
    "CPU × loop": lambda line: number(cpu_ratio(line)),
    "PSS beyond, MB (children)": lambda line: f"{bytes_beyond(line) / 2**20:.0f} ({line['children']})",
    "idle, % of a core": lambda line: f"{line['idle_percent']:.1f}",
    "step, µs: p50 / p99": lambda line: f"{line['latency_us']['50']:,.0f} / {line['latency_us']['99']:,.0f}",
    "env-steps/s": lambda line: f"{median(line['contender_rate']):,.0f}",
}


def _details(lines: Sequence[Line]) -> str:
    rows = ([text(line) for text in _DETAILS.values()] for line in lines)
    return "### Beside the limits\n\n" + _table(list(_DETAILS), rows)


# The text of a line in a table of growth, from it and all lines of its contender, the smallest first.
Text = Callable[[Line, list[Line]], str]


def _by_num_envs(lines: Sequence[Line]) -> str:
    def cost(line: Line, mine: list[Line]) -> str:
        return f"{nanoseconds(line):,.0f} ({nanoseconds(line) / nanoseconds(mine[0]):.2f})"

    def per_env(mine: list[Line]) -> float:
        few, many = mine[0], mine[-1]
        return (bytes_beyond(many) - bytes_beyond(few)) / max(1, int(many["num_envs"] - few["num_envs"]))

    table = _pivot(
        lines,
        "envs",
        lambda line: int(line["num_envs"]),
        {"{}": cost, "its loop": lambda line, mine: f"{nanoseconds(line, 'loop'):,.0f}"},
    )
    memory = (f"{name} {per_env(mine) / 1024:.1f} kB" for name, mine in _by_contender(lines).items())
    return (
        f"### Many envs ({lines[0]['env']}): ns per env-step (over that of the fewest)\n\n{table}\n\n"
        f"Memory per env, its share of the batches included: {', '.join(memory)}."
    )


def _by_workers(lines: Sequence[Line]) -> str:
    def speed(line: Line, mine: list[Line]) -> str:
        best = max(median(ratios(one, "loop")) for one in mine)
        return f"{middle(ratios(line, 'loop'))} ({median(ratios(line, 'loop')) / best:.2f})"

    title = f"### Workers ({lines[0]['env']}, {lines[0]['num_envs']} envs): × loop (over the best)\n\n"
    return title + _pivot(lines, "workers", lambda line: int(line["workers"]), {"{}": speed})


def _by_obs(lines: Sequence[Line]) -> str:
    title = f"### Size of obs ({lines[0]['num_envs']} envs): ns per env-step beyond those of the smallest\n\n"
    return title + _pivot(
        lines,
        "bytes",
        lambda line: int(line["env"].removeprefix("obs")),
        {
            "{}": lambda line, mine: f"{nanoseconds(line) - nanoseconds(mine[0]):,.0f}",
            "memcpy": lambda line, mine: f"{nanoseconds(line, 'memcpy'):,.0f}",
        },
    )


def _make_time(lines: Sequence[Line]) -> str:
    rows = []
    for line in lines:
        built, made = median(line["built_seconds"]), median(line["made_seconds"])
        seconds = (f"{value:.2f}" for value in (built, made, 2 * built + 1))
        rows.append([line["env"], line["contender"], f"{line['num_envs']:,}", *seconds])
    header = ["env", "contender", "envs", "in a loop, s", "make, s", "twice the loop + 1 s"]
    return "### Making a pool\n\n" + _table(header, rows)


def _generation(lines: Sequence[Line]) -> str:
    said = (f"{'cached' if line['cached'] else 'cold'} {line['generation_seconds']:.2f} s" for line in lines)
    return f"Generation of a small env: {', '.join(said)}."


def _endurance(lines: Sequence[Line]) -> str:
    return "\n".join(
        f"{line['steps']:,} env-steps in {line['seconds']:.1f} s: RSS grew by "
        f"{line['rss_growth'] / 2**20:.2f} MiB, references by {line['reference_growth']}."
        for line in lines
    )


_SECTIONS: dict[str, Callable[[Sequence[Line]], str]] = {
    "pools": _details,
    "num_envs": _by_num_envs,
    "workers": _by_workers,
    "obs": _by_obs,
    "make": _make_time,
    "generation": _generation,
    "endurance": _endurance,
}


def _pivot(lines: Sequence[Line], corner: str, size: Callable[[Line], int], columns: dict[str, Text]) -> str:
    """A row per size; for each contender the columns, in whose headers {} is its name."""
    by_contender = _by_contender(lines)
    rows = []
    for value in sorted({size(line) for line in lines}):
        row = [f"{value:,}"]
        for mine in by_contender.values():
            line = next((line for line in mine if size(line) == value), None)
            row += ["" if line is None else text(line, mine) for text in columns.values()]
        rows.append(row)
    return _table([corner, *(title.format(name) for name in by_contender for title in columns)], rows)


def _by_contender(lines: Sequence[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line["contender"], []).append(line)
    return found


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    bars = ("---" if title in ("", "env", "contender") else "---:" for title in header)
    body = (f"| {' | '.join(row)} |" for row in (header, *rows))
    return "\n".join([next(body), f"|{'|'.join(bars)}|", *body])
