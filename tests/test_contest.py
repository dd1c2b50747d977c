"""A loop and pools that take turns: who takes part, who is out, what is told of them."""

from __future__ import annotations

import threading
from typing import Any

import envs
import psutil
import pytest

from envpool_protocol.errors import ConfigError
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import source_of
from envpool_wrap.registry import Generated
from envpool_wrap.tuning import contest
from envpool_wrap.tuning.contest import auto_of, hold, name_of
from envpool_wrap.tuning.recording import Contest

INLINE, THREADS = {"backend": "inline"}, {"backend": "thread", "num_threads": 2}
PROCESSES = {"backend": "process", "num_threads": 2}
HALF = {**PROCESSES, "batch_size": 2}


def prebuilt(cls: type) -> Generated:
    """An env that nothing was compiled for."""
    source = source_of(cls)
    description = source.describe()
    return Generated(source, description, prebuilt_module(description))


def held(
    cls: type, contenders: list[Any], num_envs: int = 4, seconds: float = 0.02, **settings: Any
) -> Contest:
    """A short contest."""
    return hold(prebuilt(cls), settings, num_envs, contenders, seconds)


def test_settings_are_told_in_words() -> None:
    assert name_of(INLINE) == "inline" and name_of(THREADS) == "thread, 2 workers"
    assert name_of(HALF) == "process, 2 workers, batch_size 2"


def test_all_take_part_in_every_round() -> None:
    taken = held(envs.Counting, [INLINE, THREADS, PROCESSES, HALF])
    assert [trial.name for trial in taken.finished] == [*map(name_of, (INLINE, THREADS, PROCESSES, HALF))]
    assert [trial.settings for trial in taken.trials] == [INLINE, THREADS, PROCESSES, HALF]
    for trial in (taken.loop, *taken.trials):
        assert len(trial.rates) == len(trial.cpu_us) == contest.LEAST_ROUNDS, trial.name
        assert min(trial.rates) > 0 and not trial.failure
    assert taken.loop.name == "loop" and taken.num_envs == 4
    assert taken.trials[2].memory > 2**20  # a process of its own
    assert not psutil.Process().children()


def test_rounds_become_more_not_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "_TURN", 0.001)
    taken = held(envs.Counting, [INLINE], seconds=0.02)
    assert len(taken.loop.rates) == len(taken.trials[0].rates) == 10


def test_progress_goes_up_and_says_what_is_being_done() -> None:
    told: list[tuple[str, float]] = []
    advance = lambda what, share: told.append((what, share))  # noqa: E731
    hold(prebuilt(envs.Counting), {}, 2, [INLINE], 0.01, advance)
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1
    assert dict.fromkeys(what for what, _ in told) == dict.fromkeys(
        ("2 envs: the loop", "2 envs: making inline", "2 envs: stepping")
    )


def test_one_that_cannot_be_made_is_told_and_the_others_go_on() -> None:
    taken = held(envs.Faulty, [INLINE, PROCESSES], env_kwargs={"error": threading.Lock()})
    inline, process = taken.trials
    assert not inline.failure and len(inline.rates) == contest.LEAST_ROUNDS
    assert "TypeError" in process.failure and "lock" in process.failure and not process.rates
    assert taken.finished == [inline]


def test_one_whose_env_fails_on_the_way_is_out_for_good() -> None:
    taken = held(Fails, [INLINE, THREADS], caller_steps=False)
    assert [trial.name for trial in taken.finished] == ["inline"]
    assert taken.trials[1].failure.startswith("EnvError: env ") and "not here" in taken.trials[1].failure


class Fails(envs.Counting):
    """Raises in any thread but the main one."""

    def _step_envpool(self, action: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("not here")
        super()._step_envpool(action)


def test_what_an_env_raises_in_the_loop_is_raised() -> None:
    with pytest.raises(ValueError, match="env 0 says no"):
        held(envs.Faulty, [PROCESSES], env_kwargs={"fail_in": "_step_envpool", "fail_at": 3})
    assert not psutil.Process().children()


def test_episodes_go_on_whatever_mode_is_asked_for() -> None:
    taken = held(envs.Counting, [INLINE], autoreset_mode="disabled")
    assert len(taken.finished) == 1


def test_auto_is_marked_where_it_takes_part() -> None:
    chosen, why = auto_of(prebuilt(envs.Counting), {}, 1)
    assert (chosen, why) == (INLINE, "one env")
    taken = held(envs.Counting, [INLINE], num_envs=1)
    assert (taken.auto, taken.auto_why) == ("inline", "one env")
    assert held(envs.Counting, [{**THREADS, "num_threads": 1}], num_envs=1).auto == ""


def test_a_bad_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'num_thread'"):
        held(envs.Counting, [INLINE], num_thread=3)
