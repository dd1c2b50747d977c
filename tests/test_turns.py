"""Taking turns: for how long, in which order, with whose CPU time."""

from __future__ import annotations

import os

from envpool_wrap.tuning.meters import cpu_seconds, pss_bytes, times_interrupted
from envpool_wrap.tuning.turns import Turn, in_rounds, run_for, take_turn


def test_a_turn_lasts_as_long_as_it_is_told_and_counts_all_it_ran() -> None:
    ran: list[int] = []
    times, elapsed = run_for(ran.append, 0.02)
    assert sum(ran) == times and 0.02 <= elapsed < 2


def test_a_run_that_is_slower_than_its_turn_runs_once() -> None:
    ran: list[int] = []
    assert run_for(ran.append, 0.0)[0] == 1 and ran == [1]


def test_a_rate_counts_rows_and_cpu_time_is_per_row() -> None:
    turn = take_turn(lambda times: sum(range(1000)), 7, 0.02, [os.getpid()])
    assert turn.cpu is not None and 0 < turn.cpu * turn.rate / 1e6 < 1.5  # one core
    assert take_turn(lambda times: None, 7, 0.001, []).cpu == 0


def test_each_goes_once_per_round_and_none_is_always_first() -> None:
    gone: list[str] = []

    def going(name: str) -> Turn:
        gone.append(name)
        return Turn(1.0)

    names = [name for name, _ in in_rounds({name: lambda name=name: going(name) for name in "abc"}, 3)]
    assert names == gone == list("abccbaabc")


def test_a_process_that_is_gone_has_no_time_and_no_memory() -> None:
    nobody = 2**22 + 1  # beyond the greatest pid
    assert (cpu_seconds(nobody), pss_bytes(nobody)) == (0.0, 0)
    assert cpu_seconds(os.getpid()) > 0 and pss_bytes(os.getpid()) > 2**20 and times_interrupted() >= 0
