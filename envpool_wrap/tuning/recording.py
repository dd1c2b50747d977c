"""What was measured, as plain data: written down as JSON, read again, and judged by advice.py.

Recording
  machine    Machine
  env        EnvTimings: its envs in a plain loop
  contests   Contest, one per number of envs: the loop and several pools, which took turns
    loop       Trial
    trials     Trial
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, NamedTuple

LOOP = "loop"


class Spread(NamedTuple):
    """Of a value per round: the median, the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        known = list(values)
        return cls(median(known), min(known), max(known))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f}–{self.greatest:.2f})"


@dataclass(frozen=True)
class Machine:
    """Where it was measured.

    Attributes:
        cores: that this process may use.
        gil: whether this Python has one.
        worker_processes: whether this system has them.
    """

    cores: int
    gil: bool
    worker_processes: bool


@dataclass(frozen=True)
class EnvTimings:
    """How envs behaved in a plain loop. Times are µs of one env's step or reset.

    Attributes:
        num_envs: how many took part.
        step_us: `mean`, and the percentiles `p50`, `p90`, `p99` and `max`.
        median_us: of each env.
        reset_us: the median of all resets.
        reset_share: the share of the loop's time that resets took, those of the start left out.
        balance: of the time that `workers` workers with equal shares of the envs would have for a batch, the
            share in which they would work; the rest they would wait for the slowest one.
        workers: that the balance is about.
        threads: per round, what two envs do that two threads step at once, over what they do alone; empty
            where it could not be measured.
        cores_worth: the same of work that never holds the GIL.
        obs_bytes: of one env's observation.
        casts: leaves whose values have another dtype than declared: (leaf, found, declared).
        cannot_travel: why the env cannot be pickled for another process; empty if it can.
        make_seconds: to make one env.
        compiled: pools run its hooks as machine code; the loop interprets them.
    """

    num_envs: int
    step_us: Mapping[str, float]
    median_us: list[float]
    reset_us: float
    reset_share: float
    balance: float
    workers: int
    threads: list[float]
    cores_worth: list[float]
    obs_bytes: int
    casts: list[tuple[str, str, str]] = field(default_factory=list)
    cannot_travel: str = ""
    make_seconds: float = 0.0
    compiled: bool = False

    @property
    def holds_gil(self) -> float | None:
        """The share of a step that holds the GIL; None where it cannot be told.

        Two threads that each hold it for a share h of a step do 2 / (1 + h) of what one does, on two cores
        that are worth two. Cores that are worth less, as work that never holds it shows, count as much less.
        """
        if not self.threads or median(self.cores_worth) < _LEAST_CORES_WORTH:
            return None
        gained = (median(self.threads) - 1) / (median(self.cores_worth) - 1)
        return min(1.0, max(0.0, 2 / (1 + min(1.0, max(0.0, gained))) - 1))

    @property
    def slow_envs(self) -> list[int]:
        """Envs whose steps take more than three times those of the others, where they are few."""
        usual = median(self.median_us)
        slow = [env for env, taken in enumerate(self.median_us) if taken > 3 * usual]
        return slow if len(slow) <= self.num_envs // 4 else []


_LEAST_CORES_WORTH = 1.5  # threads that gain less from a second core tell nothing about the GIL


@dataclass(frozen=True)
class Trial:
    """One that took turns with the others.

    Attributes:
        name: in words, such as `process, 2 workers`.
        settings: of `make`, besides the number of envs.
        rates: env-steps/s, one per round.
        cpu_us: CPU time per env-step of all its processes, in µs, one per round.
        memory: bytes that it took, its envs included.
        failure: why it took no part; empty if it did.
    """

    name: str
    settings: Mapping[str, Any]
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    memory: int = 0
    failure: str = ""

    def over(self, other: Trial) -> list[float]:
        """Its rates over those of the other, round by round."""
        return [mine / theirs for mine, theirs in zip(self.rates, other.rates, strict=True)]


@dataclass(frozen=True)
class Contest:
    """A loop and pools of as many envs that took turns, in rounds.

    Attributes:
        auto: the name of the trial that has the settings of `backend="auto"`; empty if there is none.
        auto_why: why `auto` chooses these.
    """

    num_envs: int
    loop: Trial
    trials: list[Trial]
    auto: str = ""
    auto_why: str = ""

    def ratio(self, trial: Trial) -> Spread:
        """Its rate over the loop's."""
        return Spread.of(trial.over(self.loop))

    @property
    def finished(self) -> list[Trial]:
        """The trials that did not fail."""
        return [trial for trial in self.trials if not trial.failure]


@dataclass(frozen=True)
class Recording:
    """All that was measured of one env."""

    task_id: str
    machine: Machine
    env: EnvTimings
    contests: list[Contest]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, floats to four digits; `from_json` is the way back."""
        rounded: dict[str, Any] = _rounded(asdict(self))
        return rounded

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recording:
        """The recording that `to_json` was called on."""
        env = values["env"] | {"casts": [tuple(cast) for cast in values["env"]["casts"]]}
        contests = [
            Contest(**(one | {"loop": Trial(**one["loop"]), "trials": [Trial(**t) for t in one["trials"]]}))
            for one in values["contests"]
        ]
        return cls(values["task_id"], Machine(**values["machine"]), EnvTimings(**env), contests)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(member) for key, member in value.items()}
    return [_rounded(member) for member in value] if isinstance(value, list | tuple) else value
