"""The second file: make a pool of what my_env.py generated, and step it."""

import numpy as np

import envpool_wrap as envpool

print(envpool.list_all_envs())
env = envpool.make(task_id="MyEnv_wrap", env_type="gym", num_envs=4)
obs, info = env.reset()
for _ in range(3):
    obs, reward, terminated, truncated, info = env.step(np.zeros((4, 1)))
print(obs, reward, info["elapsed_step"])
env.close()
