"""Plots from the JSON lines. Needs matplotlib."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cell import BINS_PER_OCTAVE
from benchmarks.contenders import CONTENDERS
from benchmarks.lines import Line, ceilings, nanoseconds, ratios


def draw(lines: Sequence[Line], folder: Path) -> list[Path]:
    """Write all plots that these lines have something for; their files."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    cells = [line for line in lines if line["kind"] == "cell" and line["status"] == "ok"]
    groups = {
        group: [line for line in cells if line["group"] == group]
        for group in ("pools", "num_envs", "workers")
    }
    drawn = []
    for size in sorted({line["num_envs"] for line in groups["pools"]}):
        same = [line for line in groups["pools"] if line["num_envs"] == size]
        drawn.append(_bars(same, size, folder / f"peers-{size}.svg"))
    if groups["num_envs"] or groups["workers"]:
        drawn.append(_scaling(groups, folder / "scaling.svg"))
    if groups["pools"]:
        drawn.append(_latency(groups["pools"], folder / "latency.svg"))
    return drawn


def _bars(lines: Sequence[Line], num_envs: int, file: Path) -> Path:
    """Every contender on every env, over the loop; a line across where the machine's ceiling is."""
    figure, axes = _figure(11)
    envs = list(dict.fromkeys(line["env"] for line in lines))
    names = list(dict.fromkeys(line["contender"] for line in lines))
    width = 0.85 / len(names)
    for at, name in enumerate(names):
        mine = [line for line in lines if line["contender"] == name]
        places = [envs.index(line["env"]) + (at - len(names) / 2 + 0.5) * width for line in mine]
        heights = [statistics.median(ratios(line, "loop")) for line in mine]
        axes.bar(places, heights, width, label=name, color=_colour(name))
    for at, env in enumerate(envs):
        if limit := ceilings(lines, env):
            axes.hlines(statistics.median(limit), at - 0.45, at + 0.45, color="black", linewidth=1)
    axes.axhline(1, color="grey", linewidth=0.8, linestyle="--")
    axes.set_yscale("log")
    axes.set_xticks(range(len(envs)), envs)
    axes.set_ylabel("env-steps/s over the plain loop's")
    axes.set_title(f"{num_envs} envs; black lines: two unconnected processes")
    return _save(figure, axes, file)


def _scaling(groups: dict[str, list[Line]], file: Path) -> Path:
    """Cost over the number of envs, and speed over the number of workers."""
    figure, both = _figure(11, columns=2)
    for axes, by in zip(both, ("num_envs", "workers"), strict=True):
        for name in dict.fromkeys(line["contender"] for line in groups[by]):
            mine = sorted(
                (line for line in groups[by] if line["contender"] == name), key=lambda line: line[by]
            )
            values = [
                nanoseconds(line) if by == "num_envs" else statistics.median(ratios(line, "loop"))
                for line in mine
            ]
            axes.plot([line[by] for line in mine], values, marker="o", label=name, color=_colour(name))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel({"num_envs": "envs", "workers": "workers"}[by])
        axes.set_ylabel({"num_envs": "ns per env-step", "workers": "× loop"}[by])
        axes.set_ylim(bottom=0)
        if groups[by]:
            axes.legend(fontsize="small")
    return _save(figure, None, file)


def _latency(lines: Sequence[Line], file: Path) -> Path:
    """How long single steps take: cartpole with the fewest envs that were measured, if it was."""
    chosen = [line for line in lines if line["env"] == "cartpole"] or [
        line for line in lines if line["env"] == lines[0]["env"]
    ]
    size = min(line["num_envs"] for line in chosen)
    figure, axes = _figure(8)
    for line in chosen:
        if line["num_envs"] != size:
            continue
        bins = {int(place): count for place, count in line["latency_bins"].items()}
        total = sum(bins.values())
        places = range(min(bins), max(bins) + 2)
        edges = [2 ** (place / BINS_PER_OCTAVE) for place in places]
        shares = [100 * bins.get(place, 0) / total for place in places]
        axes.step(edges, shares, where="post", label=line["contender"], color=_colour(line["contender"]))
    axes.set_xscale("log")
    axes.set_xlabel("µs for one step of the batch")
    axes.set_ylabel("% of steps")
    axes.set_title(f"{chosen[0]['env']}, {size} envs")
    return _save(figure, axes, file)


def _figure(width: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib import pyplot

    made: tuple[Any, Any] = pyplot.subplots(ncols=columns, figsize=(width, 4.5), layout="constrained")
    return made


def _colour(contender: str) -> Any:
    """The same in each plot."""
    from matplotlib import colormaps

    return colormaps["tab20"](list(CONTENDERS).index(contender))


def _save(figure: Any, legend_of: Any, file: Path) -> Path:
    from matplotlib import pyplot

    if legend_of is not None:
        legend_of.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(file)
    pyplot.close(figure)
    return file
