"""Ray itself: connected to, or started here; and whether it has room for so many actors, said at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray

from envpool_protocol.errors import ConfigError

ROOM_DEADLINE = 5.0  # seconds for what others gave back to be counted

Resources = Mapping[str, float]

# Options of an actor that are the pool's own affair.
_OURS = {
    "max_restarts": "a new actor has none of the envs; on_error='restart' replaces a dead one",
    "max_task_retries": "a step that is done again is another step",
    "max_concurrency": "the envs of an actor take turns",
    "concurrency_groups": "the envs of an actor take turns",
    "name": "the pool has several actors, and a name is one actor's",
    "get_if_exists": "the pool has its actors for itself",
    "lifetime": "the actors end with their pool",
    "num_returns": "the pool calls its actors itself",
}
_AMOUNTS = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}


def connect(cpus: float) -> None:
    """Connect to the cluster that there is, else start Ray on this machine, with room for so many CPUs.

    `cpus` is what actors ask for, which may be more than the machine has: their envs take turns then.
    """
    if ray.is_initialized():
        return
    try:
        ray.init(address="auto")
    except ConnectionError:
        ray.init(
            address="local", num_cpus=max(os.cpu_count() or 1, int(-(-cpus // 1))), include_dashboard=False
        )


def options_of(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of each actor: one CPU, spread over the nodes, unless `given` says otherwise.

    Raises:
        ConfigError: an option that Ray does not know, or that a pool cannot leave to its user.
    """
    options = {"num_cpus": 1, "scheduling_strategy": "SPREAD", **(given or {})}
    for name in options:
        if name in _OURS:
            raise ConfigError(f"actor_options has {name!r}: {_OURS[name]}; leave it out")
    try:
        ray.remote(type("Host", (), {})).options(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"actor_options={dict(given or {})}: {error}") from None
    return options


def demand(options: Mapping[str, Any]) -> dict[str, float]:
    """What one actor takes of its node, by Ray's names."""
    needed = {_AMOUNTS[name]: float(options[name] or 0) for name in _AMOUNTS if name in options}
    needed |= {name: float(amount) for name, amount in (options.get("resources") or {}).items()}
    return {name: amount for name, amount in needed.items() if amount}


def check_room(actors: int, options: Mapping[str, Any]) -> None:
    """Raise unless the cluster has room for so many more actors now: Ray itself would wait for it for ever.

    Not looked at where the actors go into a placement group, which has its room already.

    Raises:
        ConfigError: how much room there is, and how much it takes.
    """
    needed = demand(options)
    strategy: Any = options.get("scheduling_strategy")
    if options.get("placement_group") or hasattr(strategy, "placement_group"):
        return
    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    if hasattr(strategy, "node_id") and not strategy.soft:
        nodes = {name: has for name, has in nodes.items() if name == strategy.node_id}
    room = _fit(nodes.values(), needed)
    if room < actors:
        raise ConfigError(_too_small(actors, needed, room, f"the cluster's {len(nodes)} node(s)"))
    until = time.monotonic() + ROOM_DEADLINE
    while _fit([_available()], needed) < actors:
        if time.monotonic() > until:
            free = _fit([_available()], needed)
            raise ConfigError(_too_small(actors, needed, free, "what others leave free of the cluster"))
        time.sleep(0.1)


def _available() -> Resources:
    free: Resources = ray.available_resources()
    return free


def _fit(nodes: Iterable[Resources], needed: Resources) -> int:
    """How many actors fit, where each needs a node for itself or shares one."""
    if not needed:
        return 2**31
    rounding = 1e-6  # Ray counts in ten-thousandths
    return sum(
        min(int(has.get(name, 0.0) / amount + rounding) for name, amount in needed.items()) for has in nodes
    )


def _too_small(actors: int, needed: Resources, room: int, where: str) -> str:
    each = ", ".join(f"{amount:g} {name}" for name, amount in needed.items())
    return (
        f"{actors} actor(s) of {each} each, and {where} hold {room}. Use fewer workers, or less for each, as "
        "with actor_options={'num_cpus': 0.5}; close other pools; or give Ray more: ray.init(num_cpus=...)"
    )
