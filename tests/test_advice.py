"""The advice for recorded timings: the same every time, for nothing is measured here.

tests/recorded/*.json are recordings of `tune` on two cores, left alone: see their README.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envpool_wrap.tuning.advice import Advice, advise, duration, worth_trying
from envpool_wrap.tuning.recording import Contest, EnvTimings, Machine, Recording, Spread, Trial

RECORDED = Path(__file__).parent / "recorded"
TWO = Machine(cores=2, gil=True, worker_processes=True)
PROCESSES = {"backend": "process", "num_threads": 2}
THREADS = {"backend": "thread", "num_threads": 2}
INLINE = {"backend": "inline"}


def recorded(name: str) -> Recording:
    return Recording.from_json(json.loads((RECORDED / f"{name}.json").read_text("utf-8")))


# Recorded envs: what is recommended, and what the reasons say


ADVICE = {
    "noop": ({**PROCESSES, "num_envs": 64}, "steps hold the GIL"),
    "pixels": ({**INLINE, "num_envs": 8}, "a hand-over costs more; use inline"),
    "cartpole": ({**PROCESSES, "num_envs": 8}, "steps hold the GIL"),
    "spin100": ({**PROCESSES, "num_envs": 8}, "steps hold the GIL"),
    "release100": ({**THREADS, "num_envs": 8}, "your env releases the GIL for 9"),
    "uneven": ({**PROCESSES, "num_envs": 8, "batch_size": 4}, "steps are uneven, and workers would wait"),
    "halfcheetah": ({**PROCESSES, "num_envs": 8}, "processes were faster than threads, though the env"),
    "slow3": (
        {**PROCESSES, "num_envs": 64, "batch_size": 32},
        "3 of 64 envs are slow: async with batch_size 32",
    ),
    "unpicklable_spin100": ({**INLINE, "num_envs": 8}, "the env cannot go to another process (cannot pickle"),
    "unpicklable_release100": ({**THREADS, "num_envs": 8}, "your env releases the GIL for 9"),
    "one_core": ({**INLINE, "num_envs": 8}, "one core: nothing can run side by side; use inline"),
    "free_threaded-cartpole": (
        {**THREADS, "num_envs": 8},
        "this Python has no GIL: threads step side by side",
    ),
}


@pytest.mark.parametrize("name", ADVICE)
def test_recorded_env_gets_the_advice_that_suits_it(name: str) -> None:
    config, reason = ADVICE[name]
    told = advise(recorded(name), {})
    assert told.config == config
    assert any(reason in one for one in told.reasons), told.reasons
    assert told.ratio.least <= told.ratio.median <= told.ratio.greatest
    assert told.ratio.median > (0.9 if config["backend"] == "inline" else 1.2)


# Made-up recordings: one fact each


ENV = EnvTimings(
    num_envs=8,
    step_us={"mean": 100.0, "p50": 99.0, "p90": 110.0, "p99": 120.0, "max": 200.0},
    median_us=[99.0] * 8,
    reset_us=150.0,
    reset_share=0.01,
    balance=0.98,
    workers=2,
    threads=[0.95, 1.0, 1.05],
    cores_worth=[1.9, 2.0, 2.0],
    obs_bytes=16,
)


def trial(settings: Mapping[str, Any], *rates: float, **rest: Any) -> Trial:
    name = contest_name(settings)
    return Trial(name, settings, list(rates), [1.0] * len(rates), **rest)


def contest_name(settings: Mapping[str, Any]) -> str:
    return " ".join(map(str, settings.values()))


def recording(
    *trials: Trial, num_envs: int = 8, machine: Machine = TWO, auto: Any = PROCESSES, **env: Any
) -> Recording:
    """The loop does 100 in each of three rounds."""
    name = next((one.name for one in trials if one.name == contest_name(auto)), "")
    contest = Contest(num_envs, trial({}, 100, 100, 100), list(trials), name, "why it does")
    return Recording("Env_wrap", machine, replace(ENV, **env), [contest])


def told(*trials: Trial, settings: Mapping[str, Any] | None = None, **facts: Any) -> Advice:
    return advise(recording(*trials, **facts), settings or {})


SLOW, FAST = trial(INLINE, 99, 100, 101), trial(PROCESSES, 180, 190, 170)


def test_fastest_is_recommended_with_the_spread_of_its_rounds() -> None:
    advice = told(SLOW, FAST)
    assert advice.config == {**PROCESSES, "num_envs": 8} and advice.ratio == Spread(1.8, 1.7, 1.9)
    assert advice.auto == "backend='auto' chooses the same (why it does)"
    assert advice.warnings == ()
    assert advice.reasons[0] == "a step takes 100 µs (the median 99 µs, 99 % below 120 µs)"
    assert "the others, as a factor of it: inline 0.55" in advice.reasons


def test_compiled_hooks_are_tried_inline_and_on_threads_and_never_asynchronously() -> None:
    env = replace(ENV, compiled=True, balance=0.5, threads=[0.9, 0.9, 0.9])
    assert worth_trying(env, TWO, 8, {}, THREADS) == [INLINE, THREADS]
    threads = trial(THREADS, 180, 190, 170)
    advice = told(SLOW, threads, auto=THREADS, compiled=True)
    assert advice.reasons[0].startswith("interpreted, a step takes 100 µs")
    assert advice.reasons[1] == "compiled hooks need no GIL: threads step side by side"
    assert "done before another core is at it" in told(SLOW, compiled=True).reasons[1]


def test_simpler_one_is_recommended_where_it_is_about_as_fast() -> None:
    for rates, backend in (((108, 109, 107), "inline"), ((115, 114, 120), "process")):
        assert told(SLOW, trial(PROCESSES, *rates)).config["backend"] == backend
    threads = trial(THREADS, 175, 180, 165)
    assert told(SLOW, FAST, threads).config["backend"] == "thread"
    more = trial({**PROCESSES, "num_threads": 8}, 185, 195, 175)
    assert told(more, FAST).config["num_threads"] == 2


def test_rounds_are_compared_with_each_other_not_with_those_of_another_time() -> None:
    """In every round the process is half as fast again, though the machine slows down meanwhile."""
    slow, fast = trial(INLINE, 100, 50, 25), trial(PROCESSES, 150, 75, 37)
    loop = trial({}, 100, 50, 25)
    made = recording(slow, fast)
    made = replace(made, contests=[replace(made.contests[0], loop=loop)])
    advice = advise(made, {})
    assert advice.config["backend"] == "process" and advice.ratio.median == 1.5
    assert any("the loop was 4.0 × as fast in some rounds as in others" in one for one in advice.warnings)


def test_auto_that_would_choose_otherwise_is_told_with_what_it_costs() -> None:
    advice = told(trial(INLINE, 100, 100, 100), trial(PROCESSES, 60, 50, 55))
    assert (
        advice.auto
        == "backend='auto' would choose process 2 (why it does), which came to 0.55 of what is recommended"
    )
    failed = trial(PROCESSES, failure="EnvError: no")
    assert told(trial(INLINE, 100, 100, 100), failed).auto.endswith("which failed here")
    assert told(SLOW, auto={}).auto == ""


def test_settings_of_the_caller_are_part_of_the_advice() -> None:
    assert told(SLOW, FAST, settings={"seed": 3, "env_type": "dm"}).config == {
        "seed": 3,
        "env_type": "dm",
        "num_envs": 8,
        **PROCESSES,
    }


ASYNC = {**PROCESSES, "batch_size": 4}


@pytest.mark.parametrize(("rates", "chosen"), [((205, 215, 195), False), ((225, 236, 212), True)])
def test_async_has_to_be_a_fifth_faster(rates: tuple[float, ...], chosen: bool) -> None:
    advice = told(SLOW, FAST, trial(ASYNC, *rates), balance=0.6)
    assert ("batch_size" in advice.config) == chosen
    assert (
        any("recv() returns the envs that info['env_id'] names" in one for one in advice.warnings) == chosen
    )
    assert any("workers would wait for each other for 40 %" in one for one in advice.reasons) == chosen


def test_fewer_envs_are_recommended_unless_more_are_faster() -> None:
    few, many = recording(SLOW, FAST), recording(SLOW, FAST, num_envs=64)
    both = replace(few, contests=[few.contests[0], many.contests[0]])
    advice = advise(both, {})
    assert advice.config["num_envs"] == 8
    assert "more envs (64) come to 1.80 × a loop, against 1.80" in advice.reasons
    faster = recording(SLOW, trial(PROCESSES, 280, 290, 270), num_envs=64)
    advice = advise(replace(few, contests=[few.contests[0], faster.contests[0]]), {})
    assert advice.config["num_envs"] == 64
    assert "fewer envs (8) come to 1.80 × a loop, against 2.80" in advice.reasons


@pytest.mark.parametrize(
    ("facts", "warning"),
    [
        (
            {"casts": [("obs", "float64", "float32")]},
            "obs is float64 and converted to float32 each step; return float32",
        ),
        ({"reset_us": 4000.0}, r"a reset takes 40 × a step (4 ms): the others of its batch wait for it"),
        ({"reset_share": 0.3}, "resets take 30 % of the time: episodes are short"),
        (
            {"obs_bytes": 16 << 20},
            "the observations of a batch are 128 MB: keep few of them, or use fewer envs",
        ),
        ({"cores_worth": [1.2, 1.3, 1.2]}, "a second core was worth 20 % of one: others use it"),
    ],
)
def test_what_to_mind_is_a_warning(facts: dict[str, Any], warning: str) -> None:
    assert told(SLOW, FAST, **facts).warnings == (warning,)


def test_one_that_failed_is_told_and_not_recommended() -> None:
    advice = told(SLOW, trial(PROCESSES, failure="EnvError: env 3: no"))
    assert advice.config["backend"] == "inline"
    assert "process 2 could not be tried: EnvError: env 3: no" in advice.warnings


def test_pools_that_are_slower_than_the_loop_are_no_success() -> None:
    assert "no pool was faster than a plain loop: 0.80 of it" in told(trial(INLINE, 80, 80, 80)).warnings


@pytest.mark.parametrize(
    ("trials", "facts", "reason"),
    [
        ([SLOW], {"num_envs": 1}, "one env: there is nothing to share out; use inline"),
        ([SLOW], {"machine": replace(TWO, cores=1)}, "one core: nothing can run side by side; use inline"),
        ([SLOW], {"cannot_travel": "a lock"}, "the env cannot go to another process (a lock); use inline"),
        (
            [SLOW, trial(THREADS, 90, 90, 90)],
            {"cannot_travel": "a lock"},
            "the env cannot go to another process (a lock), and threads brought nothing; use inline",
        ),
        ([SLOW], {}, "no other backend could be tried; use inline"),
        (
            [SLOW, trial(PROCESSES, 60, 60, 60)],
            {"step_us": {**ENV.step_us, "mean": 4.0}},
            "steps take 4 µs: a hand-over costs more; use inline",
        ),
        (
            [SLOW, trial(PROCESSES, 102, 103, 101)],
            {},
            "other backends brought less than 10 % more on these cores; use inline",
        ),
        (
            [SLOW, FAST],
            {},
            "steps hold the GIL for 100 % of their time, so threads would wait for each other: processes",
        ),
        (
            [SLOW, FAST],
            {"threads": []},
            "steps hold the GIL, so threads would wait for each other: processes",
        ),
        (
            [SLOW, FAST, trial(THREADS, 120, 120, 120)],
            {"threads": [1.8, 1.8, 1.8]},
            "processes were faster than threads, though the env releases the GIL for 89 % of its step",
        ),
        (
            [SLOW, trial(THREADS, 180, 180, 180)],
            {"threads": [1.9, 1.9, 1.9]},
            "your env releases the GIL for 95 % of its step: threads",
        ),
        (
            [SLOW, trial(THREADS, 130, 130, 130)],
            {"threads": [1.3, 1.3, 1.3], "cannot_travel": "a lock"},
            "the env cannot go to another process (a lock): threads were faster than one",
        ),
        (
            [SLOW, trial(THREADS, 180, 180, 180)],
            {"machine": replace(TWO, gil=False)},
            "this Python has no GIL: threads step side by side, and need no other process",
        ),
        (
            [SLOW, FAST, trial(THREADS, 120, 120, 120)],
            {"machine": replace(TWO, gil=False)},
            "processes were faster than threads, though this Python has no GIL",
        ),
    ],
)
def test_reason_fits_the_case(trials: list[Trial], facts: dict[str, Any], reason: str) -> None:
    assert reason in told(*trials, **facts).reasons


# Which pools take turns


def tried(
    settings: Mapping[str, Any] | None = None, machine: Machine = TWO, num_envs: int = 8, **env: Any
) -> list[Any]:
    auto = {"backend": "process", "num_threads": 2}
    return worth_trying(replace(ENV, **env), machine, num_envs, settings or {}, auto)


def test_threads_are_tried_unless_steps_hold_the_gil() -> None:
    assert tried() == [INLINE, PROCESSES]
    assert tried(threads=[1.9, 1.9, 1.9]) == [INLINE, THREADS, PROCESSES]
    assert tried(threads=[]) == [INLINE, THREADS, PROCESSES]  # nothing is known
    assert tried(machine=replace(TWO, gil=False)) == [INLINE, THREADS, PROCESSES]


def test_processes_are_tried_where_the_env_and_the_system_can() -> None:
    auto = {"backend": "inline"}
    assert worth_trying(replace(ENV, cannot_travel="a lock"), TWO, 8, {}, auto) == [INLINE, THREADS]
    assert worth_trying(ENV, replace(TWO, worker_processes=False), 8, {}, auto) == [INLINE]


def test_one_env_or_one_core_is_stepped_inline() -> None:
    auto = {"backend": "inline"}
    assert worth_trying(ENV, TWO, 1, {}, auto) == [INLINE]
    assert worth_trying(ENV, replace(TWO, cores=1), 8, {}, auto) == [INLINE]


def test_what_auto_stands_for_always_takes_part() -> None:
    assert THREADS in worth_trying(ENV, TWO, 8, {}, {"backend": "thread", "num_threads": 2})


def test_many_cores_are_tried_in_full_by_half_and_by_two() -> None:
    wide = replace(TWO, cores=16)
    assert [one.get("num_threads") for one in tried(machine=wide, num_envs=64)] == [None, 2, 8, 16]
    assert [one.get("num_threads") for one in tried(machine=wide, num_envs=3)] == [None, 2, 3]


def test_half_batches_are_tried_where_envs_are_uneven() -> None:
    half = {**PROCESSES, "batch_size": 4}
    assert half in tried(balance=0.7)
    assert half in tried(median_us=[10.0] * 7 + [100.0])
    assert half not in tried() and half not in tried({"batch_size": 2}, balance=0.7)
    assert tried(num_envs=3, balance=0.7) == [INLINE, PROCESSES]


def test_what_the_caller_fixed_is_not_varied() -> None:
    assert tried({"backend": "thread"}) == [THREADS]
    assert tried({"backend": "inline"}) == [INLINE]
    assert tried({"num_threads": 5}) == [INLINE, {**PROCESSES, "num_threads": 5}]
    assert tried({"num_threads": 20, "backend": "thread"}) == [{**THREADS, "num_threads": 8}]


# What the timings say


@pytest.mark.parametrize(
    ("threads", "worth", "holds"),
    [
        ([2.0], [2.0], 0.0),
        ([1.0], [2.0], 1.0),
        ([0.6], [2.0], 1.0),
        ([2.4], [2.0], 0.0),
        ([1.5], [2.0], 1 / 3),
        ([1.8], [1.8], 0.0),  # less than two cores, all of them used
        ([1.0], [1.3], None),
        ([], [], None),
    ],
)
def test_share_that_holds_the_gil_is_measured_by_what_a_second_core_is_worth(
    threads: list[float], worth: list[float], holds: float | None
) -> None:
    found = replace(ENV, threads=threads, cores_worth=worth).holds_gil
    assert found == (None if holds is None else pytest.approx(holds))


def test_slow_envs_are_few_and_slow() -> None:
    assert replace(ENV, median_us=[10, 10, 31, 10, 10, 10, 10, 29]).slow_envs == [2]
    assert (
        replace(ENV, median_us=[10, 10, 10, 10, 10, 90, 90, 90]).slow_envs == []
    )  # that is what envs are like


@pytest.mark.parametrize(
    ("microseconds", "said"),
    [(0.52, "0.52 µs"), (4.1, "4.1 µs"), (41.3, "41 µs"), (1234.0, "1.23 ms"), (2.5e6, "2.5 s")],
)
def test_times_are_told_in_a_unit_that_suits_them(microseconds: float, said: str) -> None:
    assert duration(microseconds) == said


def test_recordings_are_written_to_four_digits_and_read_again() -> None:
    made = recording(SLOW, FAST, casts=[("obs", "float64", "float32")], reset_us=1.23456)
    again = Recording.from_json(json.loads(json.dumps(made.to_json())))
    assert again == replace(made, env=replace(made.env, reset_us=1.235))
