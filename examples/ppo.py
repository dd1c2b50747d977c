"""PPO on a pool, in one file. Needs torch, matplotlib for the plot, and rich for a bar on a terminal.

    python examples/ppo.py --task CartPole_wrap                 98,304 steps to a mean return of 500
    python examples/ppo.py --num-envs 16 --batch-size 8         asynchronous: recv returns the first 8 of 16

A task that is not generated yet is made of a Gymnasium id: of `--env`, by default the task's name with -v1,
as CartPole_wrap is of CartPole-v1. Observations are a Box, actions Discrete or a Box.

Each env plays `--rollout` steps into a column of its own, so it does not matter in which order envs answer;
then the policy is improved on all columns. The pool is in same-step mode: no row is a mere reset. Where an
episode was cut short, the value of its `final_obs` stands for the rewards that did not come.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

import envpool_wrap as envpool


def option(default: Any, told: str) -> Any:
    return field(default=default, metadata={"help": f"{told} (default: {default!r})"})


@dataclass(frozen=True)
class Settings:
    task: str = option("CartPole_wrap", "task id, as list_all_envs() shows it")
    env: str = option("", "Gymnasium id to make the task of; '': its name with -v1")
    backend: str = option("auto", "auto, inline, thread or process")
    compiled: str = option("auto", "run the compiled hooks of a task that has some: auto, true or false")
    num_envs: int = option(8, "how many envs")
    batch_size: int = option(0, "rows per recv; fewer than num_envs: asynchronous; 0: as many")
    max_episode_steps: int = option(0, "steps after which the pool cuts an episode short; 0: never")
    seed: int = option(0, "of envs, policy and minibatches; synchronous runs repeat exactly")
    steps: int = option(98_304, "env steps in all")
    rollout: int = option(32, "steps per env and iteration")
    minibatch: int = option(256, "rows per gradient step")
    epochs: int = option(20, "passes over the rows of an iteration")
    learning_rate: float = option(1e-3, "at the start; it falls to 0, and clip with it")
    clip: float = option(0.2, "by how much the ratio of probabilities may leave 1")
    gamma: float = option(0.98, "discount of rewards")
    gae_lambda: float = option(0.8, "how far advantages look: 0: one step, 1: to the end")
    entropy: float = option(0.0, "weight of the policy's entropy")
    evaluate: int = option(100, "episodes that the policy plays at the end, at its best")
    plot: str = option("ppo.png", "file for the learning curve; '': none")

    @classmethod
    def of(cls, arguments: Sequence[str] | None) -> Settings:
        parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
        for each in fields(cls):
            name = f"--{each.name.replace('_', '-')}"
            parser.add_argument(name, type=type(each.default), default=each.default, **each.metadata)
        return cls(**vars(parser.parse_args(arguments)))


class Agent(nn.Module):
    """A policy and a value, of observations that are rows of float32."""

    def __init__(self, observations: Any, actions: Any) -> None:
        super().__init__()
        if not (isinstance(observations, Box) and isinstance(actions, Discrete | Box)):
            sys.exit(f"expected a Box, and Discrete or Box actions; found {observations} and {actions}")
        inputs, self.actions = int(np.prod(observations.shape)), actions
        outputs = int(actions.n) if isinstance(actions, Discrete) else int(np.prod(actions.shape))
        self.policy, self.values = network(inputs, outputs, 0.01), network(inputs, 1, 1.0)
        self.log_std = nn.Parameter(torch.zeros(outputs), requires_grad=isinstance(actions, Box))

    def act(self, obs: Tensor) -> Distribution:
        """What it may do, per row."""
        if isinstance(self.actions, Discrete):
            return Categorical(logits=self.policy(obs))
        return Independent(Normal(self.policy(obs), self.log_std.exp()), 1)

    def value(self, obs: Tensor) -> Tensor:
        """The discounted rewards that it expects, per row."""
        return self.values(obs).squeeze(-1)

    def for_envs(self, action: Tensor) -> Any:
        """Actions as envs take them."""
        if isinstance(self.actions, Discrete):
            return action.numpy() + self.actions.start
        shaped = action.numpy().reshape(-1, *self.actions.shape)
        return np.clip(shaped, self.actions.low, self.actions.high)


def network(inputs: int, outputs: int, gain: float) -> nn.Module:
    """Two hidden layers; `gain` is that of the last layer."""

    def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
        made = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(made.weight, gain)
        nn.init.zeros_(made.bias)
        return made

    return nn.Sequential(layer(inputs, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, outputs, gain))


def rows(obs: Any) -> Tensor:
    """A batch of observations for the agent."""
    return torch.as_tensor(obs.reshape(len(obs), -1), dtype=torch.float32)


class Rollout(NamedTuple):
    """Row t of column i is step t of env i. `ended`: 1 where an episode did, for whatever reason."""

    obs: Tensor
    action: Tensor
    log_prob: Tensor
    value: Tensor
    reward: Tensor
    ended: Tensor

    def advantages(self, next_value: Tensor, gamma: float, gae_lambda: float) -> Tensor:
        """By how much each action did better than expected: generalized advantage estimation."""
        found, later = torch.zeros_like(self.reward), torch.zeros_like(next_value)
        for t in reversed(range(len(found))):
            going_on = 1 - self.ended[t]
            surprise = self.reward[t] + gamma * going_on * next_value - self.value[t]
            found[t] = later = surprise + gamma * gae_lambda * going_on * later
            next_value = self.value[t]
        return found


class Player:
    """Plays on a pool, and goes on in the next rollout where it stopped."""

    def __init__(self, pool: Any, agent: Agent, settings: Settings) -> None:
        self.pool, self.agent, self.settings = pool, agent, settings
        self.steps = 0
        self.returns: list[tuple[int, float]] = []  # of episodes: (steps of all envs until its end, return)
        first: dict[int, Tensor] = {}
        pool.async_reset()
        while len(first) < len(pool):  # a synchronous pool sends all at once
            obs, *_, info = pool.recv()
            first.update(zip(info["env_id"].tolist(), rows(obs), strict=True))
        self.obs = torch.stack([first[env] for env in range(len(pool))])  # what each env waits with

    @torch.no_grad()
    def play(self) -> Rollout:
        """`--rollout` steps of each env."""
        shape = self.settings.rollout, len(self.pool)
        like = self.obs, self.agent.act(self.obs).sample()
        kept = (torch.zeros(*shape, *one.shape[1:], dtype=one.dtype) for one in like)
        rollout = Rollout(*kept, *(torch.zeros(shape) for _ in range(4)))
        played, due = torch.zeros(shape[1], dtype=torch.long), torch.arange(shape[1])
        while (played < shape[0]).any():
            if len(due):
                self._send(due, rollout, played)
            obs, reward, terminated, truncated, info = self.pool.recv()  # fewer rows towards the end
            envs = torch.as_tensor(info["env_id"], dtype=torch.long)
            at = played[envs], envs
            rollout.reward[at] = torch.as_tensor(reward, dtype=torch.float32)
            rollout.ended[at] = torch.as_tensor(terminated | truncated, dtype=torch.float32)
            cut = truncated & ~terminated
            if cut.any():
                lost = self.settings.gamma * self.agent.value(rows(info["final_obs"][cut]))
                rollout.reward[played[envs[cut]], envs[cut]] += lost
            self.obs[envs] = rows(obs)
            played[envs] += 1
            self.steps += len(envs)
            if "episode" in info:
                self.returns += [(self.steps, r) for r in info["episode"]["r"][info["_episode"]].tolist()]
            due = envs[played[envs] < shape[0]]
        return rollout

    def _send(self, envs: Tensor, rollout: Rollout, played: Tensor) -> None:
        obs, at = self.obs[envs], (played[envs], envs)
        policy = self.agent.act(obs)
        action = policy.sample()
        rollout.obs[at], rollout.action[at] = obs, action
        rollout.log_prob[at], rollout.value[at] = policy.log_prob(action), self.agent.value(obs)
        self.pool.send(self.agent.for_envs(action), envs.numpy())


def improve(
    agent: Agent, optimizer: Any, played: Rollout, advantage: Tensor, clip: float, settings: Settings
) -> None:
    """Epochs of gradient steps on one rollout."""
    columns = played.obs, played.action, played.log_prob, advantage, advantage + played.value
    flat = [column.flatten(0, 1) for column in columns]
    for _ in range(settings.epochs):
        for chosen in torch.randperm(advantage.numel()).split(settings.minibatch):
            obs, action, log_prob, better, value = (column[chosen] for column in flat)
            policy = agent.act(obs)
            ratio = (policy.log_prob(action) - log_prob).exp()
            better = (better - better.mean()) / (better.std(correction=0) + 1e-8)
            gain = torch.min(ratio * better, ratio.clamp(1 - clip, 1 + clip) * better).mean()
            error = nn.functional.mse_loss(agent.value(obs), value)
            optimizer.zero_grad()
            (error / 2 - gain - settings.entropy * policy.entropy().mean()).backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def train(player: Player, agent: Agent, settings: Settings) -> None:
    """Play and improve in turns."""
    optimizer = torch.optim.Adam(agent.parameters(), eps=1e-5)
    with progress(settings.steps) as show:
        while player.steps < settings.steps:
            left = 1 - player.steps / settings.steps
            optimizer.param_groups[0]["lr"] = settings.learning_rate * left
            played = player.play()
            with torch.no_grad():
                advantage = played.advantages(agent.value(player.obs), settings.gamma, settings.gae_lambda)
            improve(agent, optimizer, played, advantage, settings.clip * left, settings)
            show(player.steps, [episode for _, episode in player.returns[-100:]])


@torch.no_grad()
def evaluate(pool: Any, agent: Agent, episodes: int) -> float:
    """The mean return of its best actions; as many episodes of each env, however long they are."""
    due, returns = np.full(len(pool), -(-episodes // len(pool))), list[float]()
    obs, _ = pool.reset()
    while due.any():
        obs, *_, info = pool.step(agent.for_envs(agent.act(rows(obs)).mode))
        if "episode" in info:
            counted = info["_episode"] & (due > 0)
            due -= counted
            returns += info["episode"]["r"][counted].tolist()
    return float(np.mean(returns))


@contextmanager
def progress(total: int) -> Iterator[Callable[[int, Sequence[float]], None]]:
    """`show(steps, returns)`: a bar on a terminal, elsewhere a line per tenth."""
    start, tenths = time.perf_counter(), 0

    def told(steps: int, returns: Sequence[float]) -> str:
        mean = f"{np.mean(returns):.1f}" if returns else "–"
        return f"{steps:>9,} steps, {steps / (time.perf_counter() - start):,.0f}/s, mean return {mean}"

    def line(steps: int, returns: Sequence[float]) -> None:
        nonlocal tenths
        if steps * 10 // total > tenths:
            tenths = steps * 10 // total
            print(told(steps, returns), flush=True)

    if not (sys.stdout.isatty() and find_spec("rich")):
        yield line
        return
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task("", total=total)
        yield lambda steps, returns: bar.update(task, completed=steps, description=told(steps, returns))


def draw(returns: Sequence[tuple[int, float]], title: str, path: str) -> None:
    """The learning curve: a dot per episode, and the mean of the last 100 of them."""
    from matplotlib.figure import Figure

    steps, episodes = np.array(returns, float).reshape(-1, 2).T
    means = [episodes[max(0, end - 100) : end].mean() for end in range(1, len(episodes) + 1)]
    axes = Figure(figsize=(8, 4.5), layout="constrained").subplots()
    axes.plot(steps, episodes, ".", markersize=3, alpha=0.4, label="episode")
    axes.plot(steps, means, label="mean of the last 100")
    axes.set(title=title, xlabel="env steps", ylabel="return")
    axes.legend()
    axes.figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> float:
    """Train, evaluate and draw. Returns the mean return at the end."""
    settings = Settings.of(arguments)
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)  # networks this small gain nothing from more, and envs want the other cores
    task, name = settings.task, settings.task.removesuffix("_wrap")
    if settings.env or task not in envpool.list_all_envs():
        task = envpool.register(settings.env or f"{name}-v1", name)
    config = {"num_envs": settings.num_envs, "backend": settings.backend, "episode_stats": True}
    config |= {
        "compiled": settings.compiled,
        "autoreset_mode": "same_step",
        "max_episode_steps": settings.max_episode_steps or None,
    }
    with envpool.make_gym(task, batch_size=settings.batch_size, seed=settings.seed, **config) as pool:
        print(pool)
        agent = Agent(pool.spec.gymnasium_observation_space, pool.spec.gymnasium_action_space)
        player = Player(pool, agent, settings)
        train(player, agent, settings)
    with envpool.make_gym(task, seed=settings.seed + 1_000_000, **config) as pool:
        mean = evaluate(pool, agent, settings.evaluate)
    print(f"{task}: mean return {mean:.1f} after {player.steps:,} steps")
    if settings.plot:
        draw(player.returns, f"PPO on {task}", settings.plot)
        print(f"learning curve: {settings.plot}")
    return mean


if __name__ == "__main__":
    main()
