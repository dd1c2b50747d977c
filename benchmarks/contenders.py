"""Who is measured, by name."""

from __future__ import annotations

from benchmarks import ours, peers
from benchmarks.contender import Contender, PlainLoop

CONTENDERS: dict[str, type[Contender]] = {
    "loop": PlainLoop,
    "ours-inline": ours.Inline,
    "ours-thread": ours.Thread,
    "ours-process": ours.Process,
    "ours-async": ours.Async,
    "gymnasium-sync": peers.GymnasiumSync,
    "gymnasium-async": peers.GymnasiumAsync,
    "sb3-dummy": peers.SB3Dummy,
    "sb3-subproc": peers.SB3Subproc,
    "ours-sb3-inline": ours.SB3Inline,
    "ours-sb3-process": ours.SB3Process,
    "torchrl": peers.TorchRL,
    "ray": peers.Ray,
    "puffer-serial": peers.PufferSerial,
    "puffer": peers.Puffer,
    "puffer-1": peers.PufferOne,
    "tianshou": peers.Tianshou,
    "envpool": peers.EnvPool,
}
OURS = [name for name, contender in CONTENDERS.items() if issubclass(contender, ours.Ours)]
