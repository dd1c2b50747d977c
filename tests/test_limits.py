"""Limits of the system: memory, address space, descriptors; and what many pools leave behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_envs import until
from scripts import finish
from troubled_pools import HOW, PROMPT, assert_works, pids_of, receive_all, still

from envpool_protocol.errors import EnvError


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A control group (version 2) that may use 16 MiB; skips the test where none can be made."""
    group = _delegating_group() / f"limited-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.max").write_text(str(16 << 20))
        if (group / "memory.swap.max").exists():
            (group / "memory.swap.max").write_text("0")
        yield group
        assert until(lambda: not (group / "cgroup.procs").read_text()), "a worker is left in the group"
    finally:
        group.rmdir()


def _delegating_group() -> Path:
    """The nearest group, from this process's own upwards, whose children may have memory limits of ours."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    root = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    own = [line[4:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::/")]
    if root is None or not own:
        pytest.skip("no control groups of version 2 are mounted here")
    refusals = []
    for group in (root / own[0], *(root / own[0]).parents):
        if not (group / "cgroup.subtree_control").exists():
            break
        if "memory" not in (group / "cgroup.subtree_control").read_text().split():
            refusals.append(f"{group} does not delegate the memory controller")
        elif not os.access(group, os.W_OK):
            refusals.append(f"{group} is not writable")
        else:
            return group
    pytest.skip("; ".join(refusals) or f"the group {own[0]} is not below {root}")


@pytest.mark.parametrize("how", ["process", "process+caller", "process-async"])
def test_a_worker_that_reaches_a_memory_limit_hangs_the_pool(pool: Any, memory_group: Path, how: str) -> None:
    troubled = pool("devour", who=3, once=True, **HOW[how])
    troubled._send_reset(None, None, None)
    receive_all(troubled)
    (memory_group / "cgroup.procs").write_text(str(pids_of(troubled)[-1]))
    start = time.monotonic()
    troubled.send(still(4), [0, 1, 2, 3])
    rows, failures = receive_all(troubled)
    took = time.monotonic() - start
    assert "oom_kill 1" in (memory_group / "memory.events").read_text()
    assert 3 in {failure.env_id for failure in failures} <= {2, 3}
    assert all("was killed by SIGKILL" in str(failure) for failure in failures)
    assert rows[3] == ([0, 0, 0, 0], 0.0, False, True)
    assert [rows[env][0][:2] for env in (0, 1)] == [[0, 1], [1, 1]]
    assert took < PROMPT
    assert_works(troubled)


def test_an_env_out_of_memory_hangs_the_pool(pool: Any) -> None:
    mine = pool("starve", who=1)
    mine.reset()
    with pytest.raises(EnvError, match="env 1: _step_envpool raised MemoryError"):
        mine.step(still(4))
    assert mine.step(still(4))[0][:, 1].tolist() == [2, 0, 2, 2]


def test_out_of_address_space_is_unclear(script: Any) -> None:
    process = script("""
make(num_threads=2).close()
gc.collect()
before = descriptors()
limits = resource.getrlimit(resource.RLIMIT_AS)
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
for backend in ("inline", "process"):
    resource.setrlimit(resource.RLIMIT_AS, (now + (64 << 20), limits[1]))
    try:
        make(backend=backend, num_threads=0 if backend == "inline" else 2, num_envs=4000)
        raise AssertionError("no error")
    except (MemoryError, PoolError, OSError) as error:
        told = f"{type(error).__name__}: {error}"
        say("told", told)
        assert "no memory for a pool's batches" in told, told
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    gc.collect()
    assert not children_of(os.getpid())
    assert descriptors() == before
with make() as pool:
    pool.reset()
""")
    out = finish(process)
    print(out)


def test_out_of_threads_leaves_something_behind(script: Any) -> None:
    process = script("""
import weakref
class Token: pass
make(backend="thread").close()
threads = len(os.listdir("/proc/self/task"))
limits = resource.getrlimit(resource.RLIMIT_AS)
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
token = Token()
watched = weakref.ref(token)
resource.setrlimit(resource.RLIMIT_AS, (now + (64 << 20), limits[1]))
try:
    make(backend="thread", num_threads=400, num_envs=400, caller_steps=False, who=token)
    raise AssertionError("no error")
except OSError as error:
    say("told", f"{type(error).__name__}: {error}")
resource.setrlimit(resource.RLIMIT_AS, limits)
del token
gc.collect()
assert watched() is None, "what the envs were to be made of is kept"
assert len(os.listdir("/proc/self/task")) == threads
with make(backend="thread") as pool:
    pool.reset()
""")
    assert "Error: [Errno 11]" in finish(process)


def test_out_of_descriptors_leaves_something_behind(script: Any) -> None:
    process = script("""
make(num_threads=3).close()
gc.collect()
before = descriptors()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
used = len(os.listdir("/proc/self/fd"))
told = set()
for spare in range(0, 40):
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, hard))
    try:
        make(num_threads=3).close()
        break
    except (OSError, PoolError) as error:
        told.add(f"{type(error).__name__}: {error}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    gc.collect()
    assert not children_of(os.getpid()), (spare, children_of(os.getpid()))
    assert descriptors() == before, (spare, set(descriptors()) - set(before))
say("succeeded with", spare)
for text in told:
    say("told", text.replace("\\n", " "))
    assert "Too many open files" in text, text
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
with make() as pool:
    pool.reset()
assert descriptors() == before
""")
    out = finish(process)
    print(out)
    assert "succeeded" in out
    assert "told" in out


def test_out_of_descriptors_at_a_restart_starts_a_worker_twice(script: Any) -> None:
    process = script("""
pool = make(num_threads=3, num_envs=6)  # the caller and two processes
pool.reset()
before = len(descriptors())
for round in range(3):
    for pid in workers(pool):
        os.kill(pid, signal.SIGKILL)
    try:
        pool.step(still(6))
    except WorkerDied:
        pass
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    refused = 0
    for spare in range(0, 30):
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, hard))
        try:
            pool.reset()
            break
        except (OSError, PoolError) as error:
            assert "Too many open files" in str(error), error
            refused += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(children_of(os.getpid())) == 0, children_of(os.getpid())
    assert refused
    assert len(children_of(os.getpid())) == 2
    assert pool.step(still(6))[0][:, 1].tolist() == [1] * 6
    assert len(descriptors()) == before, (before, descriptors())
pool.close()
assert not children_of(os.getpid())
""")
    finish(process)


@pytest.mark.timeout(300)
def test_pools_that_come_and_go_leave_something(script: Any) -> None:
    finish(script(COME_AND_GO.format(processes=10, threads=60)))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_pools_that_come_and_go_leave_something(script: Any) -> None:
    finish(script(COME_AND_GO.format(processes=50, threads=300)))


COME_AND_GO = """
def memory():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
def threads():  # one that was joined may be seen for a moment
    return len(os.listdir("/proc/self/task"))
def live(backend, count):
    for _ in range(count):
        with make(backend=backend, caller_steps=False) as pool:
            pool.reset()
            held = pool.step(still(4))
for backend, warm, count in (("thread", 20, {threads}), ("process", 3, {processes})):
    live(backend, warm)
    before = descriptors(), threads(), memory()
    live(backend, count)
    assert descriptors() == before[0], (descriptors(), before[0])
    assert until(lambda: threads() == before[1]), (threads(), before[1])
    assert memory() - before[2] < 4 << 20, (memory(), before[2])
assert not children_of(os.getpid())
"""
