"""Before anything is timed: does a contender return what the loop returns, row by row?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contender import Contender, Rows
from benchmarks.loop import Loop

STEPS = 40  # of each env; a CartPole stepped at random falls after about twenty

_LEAVES = ("obs", "reward", "terminated", "truncated")


class Mismatch(AssertionError):
    """A contender returned something else than the loop."""


def check(contender: Contender, loop: Loop, actions: NDArray[Any]) -> None:
    """Start both, and step each env STEPS times.

    Each env gets the same actions from both, however many envs a contender steps at once.

    Raises:
        Mismatch: names env, step and leaf.
    """
    dtype = loop.obs.dtype
    expected = [[row] for row in _read(_started(loop), dtype)]
    for step in range(STEPS):
        loop.step(actions[step % len(actions)])
        for rows, row in zip(expected, _read(_rows(loop), dtype), strict=True):
            rows.append(row)
    for env, (found, wanted) in enumerate(zip(_played(contender, actions, dtype), expected, strict=True)):
        _compare(env, found, wanted, contender.same_envs)


def _played(contender: Contender, actions: NDArray[Any], dtype: Any) -> list[list[Any]]:
    """What each env returned: first after the reset, then for each action."""
    played: list[list[Any]] = [[] for _ in range(contender.num_envs)]
    every = np.arange(contender.num_envs)
    sent = np.zeros(contender.num_envs, int)
    returned = contender.reset()
    while True:
        rows = contender.read(returned)
        for env, row in zip(rows.ids, _read(rows, dtype), strict=True):
            played[env].append(row)
        if min(map(len, played)) > STEPS:
            return played
        batch = actions[sent % len(actions), every]
        sent[contender.due] += 1
        returned = contender.step(batch)


def _compare(env: int, found: list[Any], wanted: list[Any], same_envs: bool) -> None:
    if not same_envs:
        wanted = [(None, *row[1:]) for row in wanted[:2]]  # obs are random; the first step ends no episode
        found = [(None, *row[1:]) for row in found[:2]]
    for step, (row, right) in enumerate(zip(found, wanted, strict=False)):
        for leaf, value, expected in zip(_LEAVES, row, right, strict=True):
            if value != expected:
                raise Mismatch(f"env {env}, step {step}: {leaf} is {value}, and the loop's is {expected}")


def _read(rows: Rows, dtype: Any) -> list[tuple[Any, ...]]:
    """A tuple per row. An obs is its hash: buffers are used again, and pixels are many."""
    count = len(rows.obs)
    obs = (hash(np.asarray(one, dtype).tobytes()) for one in rows.obs)
    reward = np.broadcast_to(rows.reward, count).astype(np.float32).tolist()
    flags = (np.broadcast_to(flag, count).astype(bool).tolist() for flag in (rows.terminated, rows.truncated))
    return list(zip(obs, reward, *flags, strict=True))


def _started(loop: Loop) -> Rows:
    loop.reset()
    return Rows(np.arange(len(loop.obs)), loop.obs)


def _rows(loop: Loop) -> Rows:
    return Rows(np.arange(len(loop.obs)), loop.obs, loop.reward, loop.terminated, loop.truncated)
