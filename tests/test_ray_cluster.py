"""Pools over several nodes of a cluster, all on this machine; nodes are killed while their envs step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ray_envs import OBJECT_STORE, Camera, Toy, quietly

from envpool_protocol.errors import ConfigError, WorkerDied

with quietly():
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from envpool_wrap.actors.lanes import CallLane, FastLane
    from envpool_wrap.integrations.ray import RayEnvPool

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ACTIONS = np.arange(6) % 5
SEEDS = [0, 1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A node for the driver, with a CPU, and two more with as much."""
    node = {"num_cpus": 1, "object_store_memory": OBJECT_STORE}
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    made.others = [made.add_node(**node) for _ in range(2)]
    made.wait_for_nodes()
    ray.init(address=made.address, logging_level="ERROR", log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def test_large_observations_cross_nodes_and_are_writable(cluster: Any) -> None:
    with RayEnvPool(Camera, 3, 2, seed=0, batch_size=2) as pool:
        pool.async_reset()
        for _ in range(9):
            obs, *_, info = pool.recv()
            ids = info["env_id"]
            assert (obs["camera"][:, 5, 5, 0] == 10 * ids + info["elapsed_step"]).all()
            obs["camera"] += 1
            pool.send(ACTIONS[ids], ids)


def test_actors_that_do_not_fit_the_nodes(cluster: Any) -> None:
    """The CPUs would do if they were on one machine."""
    with pytest.raises(
        ConfigError, match=r"1 actor\(s\) of 2 CPU each, and the cluster's 3 node\(s\) hold 0"
    ):
        RayEnvPool(Toy, 1, 2, actor_options={"num_cpus": 2})
    with pytest.raises(
        ConfigError, match=r"4 actor\(s\) of 1 CPU each, and the cluster's 3 node\(s\) hold 3"
    ):
        RayEnvPool(Toy, 4, 2)


def test_a_node_that_is_killed_while_stepping(cluster: Any) -> None:
    """Its envs are told, the others step on, and its envs start again when there is another node."""
    with RayEnvPool(Toy, 3, 2, seed=0, timeout=60) as pool:
        ways = {type(worker.lane) for worker in pool._workers}
        assert ways == {FastLane, CallLane}, "one actor on each node"
        nodes = [worker._node for worker in pool._workers]
        assert len(set(nodes)) == 3
        assert pool.reset()[0].tolist() == [[seed, 0] for seed in SEEDS]
        assert pool.step(ACTIONS)[0].tolist() == [[seed, 1] for seed in SEEDS]
        victim = cluster.others[0]
        number = nodes.index(victim.node_id)
        rows = [2 * number, 2 * number + 1]
        others = [row for row in SEEDS if row not in rows]
        pool.send(ACTIONS)
        cluster.remove_node(victim, allow_graceful=False)
        with pytest.raises(WorkerDied, match=rf"env {rows[0]}: the actor of worker {number} ") as caught:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:  # its actor steps until it notices that its node is gone
                pool.recv()
                pool.send(ACTIONS)
        assert [one.env_id for one in caught.value.errors] == rows
        obs, _, _, truncated, _ = caught.value.result
        assert truncated[rows].all()
        assert obs[others, 0].tolist() == others
        while sum(node["Alive"] for node in ray.nodes()) > 2:
            time.sleep(0.1)

        with pytest.raises(ConfigError, match=r"1 actor\(s\) of 1 CPU each"):
            pool.step(ACTIONS)
        assert pool.step(ACTIONS[others], others)[0][:, 0].tolist() == others

        cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)
        cluster.wait_for_nodes()
        assert pool.reset()[0].tolist() == [[seed, 0] for seed in SEEDS]
