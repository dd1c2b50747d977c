"""Something real: Gymnasium's HalfCheetah-v5 (MuJoCo) written as hooks."""

import gymnasium

from envpool_protocol import CppWrapperGenerator, EnvManager, EnvPoolProtocol


class HalfCheetah(EnvPoolProtocol):
    """HalfCheetah-v5. It never terminates; give the pool `max_episode_steps=1000`, as Gymnasium does."""

    def __init__(self, envid, **kwargs):
        self.env = gymnasium.make("HalfCheetah-v5", disable_env_checker=True, **kwargs).unwrapped
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space
        self.seed = None

    def _seed_envpool(self, seed):
        self.seed = seed

    def _reset_envpool(self):
        self.obs, _ = self.env.reset(seed=self.seed)
        self.seed = None  # a seed counts for one reset, the episodes after it go on from there
        self.terminated = False

    def _step_envpool(self, action):
        self.obs, self.reward, self.terminated, _, _ = self.env.step(action)

    def _make_obs_envpool(self):
        return self.obs

    def _done_envpool(self):
        return self.terminated

    def _reward_envpool(self):
        return self.reward

    def _render_envpool(self):
        return self.env.render()

    def _close_envpool(self):
        self.env.close()


if __name__ == "__main__":
    EnvManager.register_env(HalfCheetah)
    print(CppWrapperGenerator.generate_envpool_wrap(HalfCheetah))
