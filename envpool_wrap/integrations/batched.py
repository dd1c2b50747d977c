"""Simulators that are batched already, behind the pool's API and on their own device.

    pool = BatchedPool(MySimulator(num_envs=4096, device="cuda:0"))     any gymnasium.vector.VectorEnv

    register_batched("MySim", MySimulator)
    pool = envpool_wrap.make("MySim", "gymnasium", num_envs=4096, device="cuda:0")

Observations are not copied, and nothing waits for the device: see envpool_wrap/batched/.
"""

from envpool_wrap.batched.faces import BatchedDMPool, BatchedGymnasiumPool
from envpool_wrap.batched.pool import BatchedPool, BatchedSpec
from envpool_wrap.batched.registration import register_batched

__all__ = ["BatchedDMPool", "BatchedGymnasiumPool", "BatchedPool", "BatchedSpec", "register_batched"]
