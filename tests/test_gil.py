"""What threads gain beside each other: two run at once, and one alone is what they are compared with."""

from __future__ import annotations

import threading

from envpool_wrap.tuning import gil


def test_two_at_once_are_compared_with_one_alone() -> None:
    """Each counts who is inside: alone nobody else; together both, or the barrier would break."""
    inside, most = [0], []
    lock, both = threading.Lock(), threading.Barrier(2)

    def run(times: int) -> None:
        with lock:
            inside[0] += 1
        meet()
        most.append(inside[0])
        meet()
        with lock:
            inside[0] -= 1

    def meet() -> None:
        if together:
            both.wait(timeout=60)

    together = False
    gil._rate([run], 0.0)
    assert most == [1]
    together = True
    gil._rate([run, run], 0.0)
    assert most == [1, 2, 2]


def test_a_round_is_a_gain_of_the_envs_and_one_of_hashing() -> None:
    runs: list[str] = []
    envs, hashing = gil.side_by_side([lambda times: runs.append("a"), lambda times: runs.append("b")], 0.03)
    assert len(envs) == len(hashing) == gil.ROUNDS and min(*envs, *hashing) > 0
    assert {"a", "b"} == set(runs)
