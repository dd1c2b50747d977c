"""Generate the envs that the image holds."""

from my_env import MyEnv

from envpool_protocol import CppWrapperGenerator, EnvManager

EnvManager.register_env(MyEnv)
EnvManager.register_env("CartPole-v1", name="CartPole")
for task_id in EnvManager.task_ids():
    print(CppWrapperGenerator.generate_envpool_wrap(task_id))
