"""From what was measured to what to use. Nothing is measured here: the same recording gives the same advice.

worth_trying(env, machine, num_envs, settings)   which pools should take turns
advise(recording, settings)                      which of them to use, and why
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from envpool_wrap.tuning.recording import Contest, EnvTimings, Machine, Recording, Spread, Trial

# A backend that needs more has to be faster by this factor: less is not worth it, nor told from noise.
WORTH_IT = 1.1
# An asynchronous pool by this one: the caller's code has to be written for it.
_ASYNC_WORTH_IT = 1.2
# Below, two threads still gain something beside each other.
_MOSTLY_HELD = 0.6
# Workers of a synchronous pool that work for less of the time than this are worth an asynchronous one.
_EVEN = 0.85
_CHEAP_STEP_US = 30.0  # about what it costs to wake another core
_LONG_RESET = 20  # steps
_MUCH_RESET = 0.2  # of the time
_BIG_BATCH = 64 << 20  # bytes
_RESTLESS = 1.5  # the fastest round over the slowest

# The simpler first: of those that are about as fast, the first is recommended.
_BY_EFFORT = ("inline", "thread", "process")


@dataclass(frozen=True)
class Advice:
    """What to use.

    Attributes:
        config: settings of `make`, the caller's own among them.
        ratio: env-steps/s to expect, over those of a plain loop; of the rounds that were measured.
        reasons, warnings: sentences.
        auto: how `backend="auto"` compares.
    """

    config: dict[str, Any]
    ratio: Spread
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    auto: str


# Which pools should take turns


def worth_trying(
    env: EnvTimings, machine: Machine, num_envs: int, settings: Mapping[str, Any], auto: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Settings of the pools that may be the best, of the one that `auto` stands for, and of inline.

    What `settings` fix is not varied.
    """
    asked = settings.get("backend", "auto")
    backends = [asked] if asked != "auto" else list(_sensible(env, machine, num_envs))
    if asked == "auto" and auto["backend"] not in backends:
        backends.append(auto["backend"])
    tried: list[dict[str, Any]] = []
    for backend in backends:
        if backend == "inline":
            tried.append({"backend": backend})
            continue
        counts = _workers(machine.cores, num_envs, settings.get("num_threads", 0))
        tried += [{"backend": backend, "num_threads": count} for count in counts]
        if _is_uneven(env) and num_envs >= 2 * counts[-1] and not settings.get("batch_size"):
            half = {"batch_size": num_envs // 2}
            tried.append({"backend": backend, "num_threads": counts[-1], **half})
    return tried


def _sensible(env: EnvTimings, machine: Machine, num_envs: int) -> Iterator[str]:
    yield "inline"
    if num_envs == 1 or machine.cores == 1:
        return
    if env.compiled:
        yield "thread"
        return
    holds = env.holds_gil
    if not machine.gil or holds is None or holds < _MOSTLY_HELD or env.cannot_travel:
        yield "thread"
    if machine.worker_processes and not env.cannot_travel:
        yield "process"


def _workers(cores: int, num_envs: int, asked: int) -> list[int]:
    if asked:
        return [min(asked, num_envs)]
    most = min(cores, num_envs)
    return sorted({count for count in (2, most // 2, most) if 2 <= count <= most} or {most})


def _is_uneven(env: EnvTimings) -> bool:
    return not env.compiled and (env.balance < _EVEN or bool(env.slow_envs))


# Which of them to use


def advise(recording: Recording, settings: Mapping[str, Any]) -> Advice:
    """The advice for a recording in which at least one trial did not fail.

    Args:
        settings: what the caller asked for besides; they are part of the advice.
    """
    contest, trial = _choose(recording.contests)
    config = {**settings, "num_envs": contest.num_envs, **trial.settings}
    reasons = (*_env_in_words(recording.env), *_why(recording, contest, trial))
    return Advice(
        config,
        contest.ratio(trial),
        reasons,
        tuple(_warnings(recording, contest, trial)),
        _auto(contest, trial),
    )


def _choose(contests: Sequence[Contest]) -> tuple[Contest, Trial]:
    """The simplest of those that are about as fast as the fastest, of as few envs as are."""
    chosen = [(contest, _simplest(contest)) for contest in contests if contest.finished]
    fastest = max(contest.ratio(trial).median for contest, trial in chosen)
    return next(one for one in chosen if one[0].ratio(one[1]).median * WORTH_IT >= fastest)


def _simplest(contest: Contest) -> Trial:
    def effort(trial: Trial) -> tuple[int, int]:
        return _BY_EFFORT.index(trial.settings["backend"]), trial.settings.get("num_threads", 1)

    def simplest(trials: list[Trial]) -> Trial:
        best = max(trials, key=lambda trial: contest.ratio(trial).median)
        return min((one for one in trials if median(best.over(one)) <= WORTH_IT), key=effort)

    by_kind = [[one for one in contest.finished if _is_async(one) == kind] for kind in (False, True)]
    chosen, *rest = [simplest(trials) for trials in by_kind if trials]
    return next((one for one in rest if median(one.over(chosen)) > _ASYNC_WORTH_IT), chosen)


def _is_async(trial: Trial) -> bool:
    return bool(trial.settings.get("batch_size"))


def _env_in_words(env: EnvTimings) -> Iterator[str]:
    step = env.step_us
    tail = f"the median {duration(step['p50'])}, 99 % below {duration(step['p99'])}"
    interpreted = "interpreted, " if env.compiled else ""
    yield f"{interpreted}a step takes {duration(step['mean'])} ({tail})"


def _why(recording: Recording, contest: Contest, trial: Trial) -> Iterator[str]:
    env, machine, backend = recording.env, recording.machine, trial.settings["backend"]
    yield {"inline": _why_inline, "thread": _why_thread, "process": _why_process}[backend](
        env, machine, contest
    )
    if _is_async(trial):
        yield _why_async(env, trial)
    others = [one for one in contest.finished if one is not trial]
    if others:
        told = (f"{one.name} {Spread.of(one.over(trial)).median:.2f}" for one in others)
        yield f"the others, as a factor of it: {', '.join(told)}"
    for other in recording.contests:
        if other is not contest and other.finished:
            ratio = other.ratio(_simplest(other)).median
            more = "more" if other.num_envs > contest.num_envs else "fewer"
            gain = f"{ratio:.2f} × a loop, against {contest.ratio(trial).median:.2f}"
            yield f"{more} envs ({other.num_envs}) come to {gain}"


def _why_inline(env: EnvTimings, machine: Machine, contest: Contest) -> str:
    if contest.num_envs == 1:
        return "one env: there is nothing to share out; use inline"
    if machine.cores == 1:
        return "one core: nothing can run side by side; use inline"
    if env.compiled:
        return "a batch of compiled steps is done before another core is at it; use inline"
    if env.cannot_travel:
        threads = ", and threads brought nothing" if len(contest.finished) > 1 else ""
        return f"the env cannot go to another process ({env.cannot_travel}){threads}; use inline"
    if len(contest.finished) == 1:
        return "no other backend could be tried; use inline"
    if env.step_us["mean"] < _CHEAP_STEP_US:
        return f"steps take {duration(env.step_us['mean'])}: a hand-over costs more; use inline"
    return f"other backends brought less than {percent(WORTH_IT - 1)} more on these cores; use inline"


def _why_thread(env: EnvTimings, machine: Machine, contest: Contest) -> str:
    if env.compiled:
        return "compiled hooks need no GIL: threads step side by side"
    if not machine.gil:
        return "this Python has no GIL: threads step side by side, and need no other process"
    holds = env.holds_gil
    if holds is not None and holds < 0.5:
        return f"your env releases the GIL for {percent(1 - holds)} of its step: threads"
    travel = f"the env cannot go to another process ({env.cannot_travel}): " if env.cannot_travel else ""
    return f"{travel}threads were faster than one"


def _why_process(env: EnvTimings, machine: Machine, contest: Contest) -> str:
    holds = env.holds_gil
    if not machine.gil:
        return "processes were faster than threads, though this Python has no GIL"
    if holds is None or holds >= _MOSTLY_HELD:
        told = "" if holds is None else f" for {percent(holds)} of their time"
        return f"steps hold the GIL{told}, so threads would wait for each other: processes"
    released = percent(1 - holds)
    return f"processes were faster than threads, though the env releases the GIL for {released} of its step"


def _why_async(env: EnvTimings, trial: Trial) -> str:
    rows, slow = trial.settings["batch_size"], env.slow_envs
    if slow:
        names = f"{len(slow)} of {env.num_envs} envs are slow"
        return f"{names}: async with batch_size {rows} does not wait for them"
    waits = f"workers would wait for each other for {percent(1 - env.balance)} of a synchronous step"
    return f"steps are uneven, and {waits}: async with batch_size {rows}, the envs that finish first"


def _warnings(recording: Recording, contest: Contest, trial: Trial) -> Iterator[str]:
    env = recording.env
    for leaf, found, declared in env.casts:
        yield f"{leaf} is {found} and converted to {declared} each step; return {declared}"
    if env.reset_us > _LONG_RESET * env.step_us["mean"]:
        times = env.reset_us / env.step_us["mean"]
        others = "" if _is_async(trial) else ": the others of its batch wait for it"
        yield f"a reset takes {times:.0f} × a step ({duration(env.reset_us)}){others}"
    elif env.reset_share > _MUCH_RESET:
        yield f"resets take {percent(env.reset_share)} of the time: episodes are short"
    if env.obs_bytes * contest.num_envs > _BIG_BATCH:
        size = env.obs_bytes * contest.num_envs / 2**20
        yield f"the observations of a batch are {size:,.0f} MB: keep few of them, or use fewer envs"
    ratio = contest.ratio(trial)
    if ratio.median < 1 / WORTH_IT:
        yield f"no pool was faster than a plain loop: {ratio.median:.2f} of it"
    if max(contest.loop.rates) > _RESTLESS * min(contest.loop.rates):
        fast = max(contest.loop.rates) / min(contest.loop.rates)
        yield f"the loop was {fast:.1f} × as fast in some rounds as in others: this machine is not quiet"
    if recording.machine.cores > 1 and env.cores_worth and median(env.cores_worth) < _RESTLESS:
        yield f"a second core was worth {percent(median(env.cores_worth) - 1)} of one: others use it"
    for failed in (one for one in contest.trials if one.failure):
        yield f"{failed.name} could not be tried: {failed.failure}"
    if _is_async(trial):
        yield "async: recv() returns the envs that info['env_id'] names; your code has to go by these"


def _auto(contest: Contest, trial: Trial) -> str:
    if not contest.auto:
        return ""
    if contest.auto == trial.name:
        return f"backend='auto' chooses the same ({contest.auto_why})"
    choice = f"backend='auto' would choose {contest.auto} ({contest.auto_why})"
    auto = next(one for one in contest.trials if one.name == contest.auto)
    if auto.failure:
        return f"{choice}, which failed here"
    return f"{choice}, which came to {Spread.of(auto.over(trial)).median:.2f} of what is recommended"


def duration(microseconds: float) -> str:
    """In a unit that suits it."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.2g} µs" if microseconds < 10 else f"{microseconds:.0f} µs"


def percent(share: float) -> str:
    """Of 1."""
    return f"{100 * share:.0f} %"
