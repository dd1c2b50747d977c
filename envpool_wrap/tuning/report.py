"""What `tune` returns: the advice, what it rests on, and both as text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from envpool_wrap.tables import table
from envpool_wrap.tuning.advice import duration, percent
from envpool_wrap.tuning.recording import LOOP, Contest, Recording, Spread

_HEADER = ("envs", "backend", "× loop", "steps/s", "CPU, µs/step", "memory, MB")


@dataclass(frozen=True)
class Report:
    """What to use for an env, and why. `str(report)` is a table and the reasons.

    Attributes:
        task_id: the env.
        config: keywords of `make`: `envpool_wrap.make(report.task_id, **report.config)`.
        ratio: env-steps/s to expect over those of a plain Python loop: median, least and greatest of the
            rounds that were measured.
        reasons, warnings: sentences.
        auto: how what `backend="auto"` chooses compares.
        recording: what was measured.
    """

    task_id: str
    config: Mapping[str, Any]
    ratio: Spread
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    auto: str
    recording: Recording

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.config.items())
        parts = [
            f"{self.task_id}: {self.ratio} × a plain loop with\n  make({self.task_id!r}, {settings})",
            as_table(self.recording.contests),
            _env_line(self.recording),
            _listed("why", [*self.reasons, *([self.auto] if self.auto else [])]),
            _listed("mind", self.warnings),
        ]
        return "\n\n".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, but for what the caller put into `config`."""
        own = {key: value for key, value in vars(self).items() if key not in ("recording", "ratio")}
        return {**own, "ratio": self.ratio._asdict(), "recording": self.recording.to_json()}

    def plot(self, file: str | os.PathLike[str]) -> Path:
        """Draw the ratios of all that were tried, as bars from the least to the greatest round.

        Raises:
            ImportError: matplotlib is not installed; the extra `cli` has it.
        """
        return draw(self.task_id, self.recording.contests, Path(file))


def rows(contest: Contest) -> Iterator[tuple[str, ...]]:
    """A line of the table for the loop, and for each that took turns with it."""
    for trial in (contest.loop, *contest.trials):
        if trial.failure:
            yield str(contest.num_envs), trial.name, "failed", "", "", ""
            continue
        ratio = "1" if trial.name == LOOP else str(contest.ratio(trial))
        cpu, memory = f"{median(trial.cpu_us):.3g}", f"{trial.memory / 2**20:.0f}"
        yield str(contest.num_envs), trial.name, ratio, f"{median(trial.rates):,.0f}", cpu, memory


def as_table(contests: Iterable[Contest]) -> str:
    """The lines of all contests."""
    return table(_HEADER, (row for contest in contests for row in rows(contest)))


def draw(title: str, contests: Sequence[Contest], file: Path) -> Path:
    """Bars of all trials that finished, beside the loop's 1. The file's ending says which format."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"{error}; a plot needs matplotlib: pip install 'envpool-wrapper[cli]'") from error
    bars = [(contest, trial) for contest in contests for trial in contest.finished]
    ratios = [contest.ratio(trial) for contest, trial in bars]
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    below = [ratio.median - ratio.least for ratio in ratios]
    above = [ratio.greatest - ratio.median for ratio in ratios]
    names = [f"{contest.num_envs} envs, {trial.name}" for contest, trial in bars]
    axes.barh(names, [ratio.median for ratio in ratios], xerr=[below, above], color="#4c78a8", capsize=3)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("env-steps/s over a plain loop's")
    axes.set_title(title)
    figure.savefig(file)
    return file


def _env_line(recording: Recording) -> str:
    env = recording.env
    holds = env.holds_gil
    gil = "cannot be told" if holds is None else f"{percent(holds)}"
    if not recording.machine.gil:
        gil = "none: this Python has no GIL"
    facts = [
        f"step: mean {duration(env.step_us['mean'])}, "
        + ", ".join(f"{key} {duration(env.step_us[key])}" for key in ("p50", "p90", "p99", "max")),
        f"reset: {duration(env.reset_us)}, {percent(env.reset_share)} of the time",
        f"share of a step that holds the GIL: {gil}",
        f"balance of {env.workers} workers: {percent(env.balance)}",
        f"observation: {env.obs_bytes:,} bytes",
        f"to another process: {env.cannot_travel or 'yes'}",
        f"cores: {recording.machine.cores}",
    ]
    return _listed("measured", facts)


def _listed(title: str, sentences: Iterable[str]) -> str:
    lines = [f"  {sentence}" for sentence in sentences]
    return "\n".join([title, *lines]) if lines else ""
