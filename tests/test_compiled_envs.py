"""Envs whose hooks compile, interpreted: they play by their rules, and step as Gymnasium's originals do."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import compiled_envs
import gymnasium
import numpy as np
import pytest
from compiled_envs import Acrobot, CartPole, Game2048, Maze, MountainCar, Pendulum
from numpy.typing import NDArray
from test_examples import run

from envpool_protocol.random import Random

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "compiled"


class Original(NamedTuple):
    """An env of Gymnasium and ours, whose `fields`, one after the other, are the state of theirs.

    Where states are not `bitwise` equal, or rewards are not, Gymnasium squares with `**`: libm's pow.
    """

    env_id: str
    cls: type
    fields: tuple[str, ...]
    bitwise: bool = True
    same_rewards: bool = True

    def join(self, values: Iterable[Any]) -> NDArray[Any]:
        """Their state, of the values of our fields."""
        return np.concatenate([np.atleast_1d(value) for value in values])

    def split(self, state: Any) -> list[Any]:
        """The values of our fields, scalars and arrays, of their state."""
        parts = iter(map(float, state))
        declared = [self.cls.state_envpool[field] for field in self.fields]  # type: ignore[attr-defined]
        return [
            np.array([next(parts) for _ in range(kind[1][0])]) if isinstance(kind, tuple) else next(parts)
            for kind in declared
        ]


ORIGINALS = [
    Original("CartPole-v1", CartPole, ("x", "speed", "angle", "spin")),
    Original("MountainCar-v0", MountainCar, ("position", "velocity")),
    Original("Pendulum-v1", Pendulum, ("angle", "speed"), same_rewards=False),
    Original("Acrobot-v1", Acrobot, ("angles", "speeds"), bitwise=False),
]
every_original = pytest.mark.parametrize("original", ORIGINALS, ids=lambda original: original.env_id)


def numpy_is_libm() -> bool:
    """Whether NumPy's sine and cosine, which Gymnasium calls, are libm's here, or its own."""
    angles = np.random.default_rng(0).uniform(-10, 10, 2000)
    return all(np.sin(x) == math.sin(x) and np.cos(x) == math.cos(x) for x in angles)


@every_original
def test_spaces_are_the_originals(original: Original) -> None:
    theirs = gymnasium.make(original.env_id)
    assert original.cls.observation_space == theirs.observation_space
    assert original.cls.action_space == theirs.action_space


@every_original
def test_a_pool_steps_as_the_original_does(original: Original, pool_of: Callable[..., Any]) -> None:
    """From the same state: bit for bit over whole episodes, or else step by step to the last bits."""
    theirs = gymnasium.make(original.env_id).unwrapped
    theirs.action_space.seed(3)
    pool = pool_of(original.cls, autoreset_mode="disabled")
    bitwise = original.bitwise and numpy_is_libm()
    over = True
    for t in range(10_000):
        if over := over or t % 300 == 0:
            theirs.reset(seed=t)
            pool.reset()
        if over or not bitwise:
            for field, value in zip(original.fields, original.split(theirs.state), strict=True):
                pool.set_attr(field, value)
        action = theirs.action_space.sample()
        expected = theirs.step(action)
        obs, reward, terminated, truncated, _ = pool.step(np.array([action]))
        assert np.allclose(obs[0], expected[0], rtol=0 if bitwise else 1e-6, atol=0)
        assert np.isclose(
            reward[0], np.float32(expected[1]), rtol=0 if original.same_rewards else 1e-6, atol=0
        )
        assert terminated[0] == expected[2] and not truncated[0]
        over = expected[2]
        if over or t % 10 == 0:
            state = original.join(pool.get_attr(field)[0] for field in original.fields)
            error = 0 if bitwise else 1e-14
            assert np.allclose(state, np.array(theirs.state, np.float64), rtol=error, atol=error)


@every_original
def test_episodes_start_where_the_originals_do(original: Original) -> None:
    """Kolmogorov and Smirnov's test of each component, on 4,000 seeds; components are independent."""
    many, theirs, ours = 4_000, gymnasium.make(original.env_id).unwrapped, original.cls(0)
    starts: list[list[NDArray[Any]]] = [[], []]
    for seed in range(many):
        theirs.reset(seed=seed)
        ours._seed_envpool(seed)
        ours._reset_envpool()
        starts[0].append(np.array(theirs.state, np.float64))
        starts[1].append(original.join(getattr(ours, field) for field in original.fields))
    for one, other in zip(np.array(starts[0]).T, np.array(starts[1]).T, strict=True):
        everything = np.sort(np.concatenate([one, other]))
        below = [np.searchsorted(np.sort(part), everything, side="right") / many for part in (one, other)]
        assert abs(below[0] - below[1]).max() * math.sqrt(many / 2) < 2.2
        assert np.array_equal(one == 0, other == 0), "what starts at rest there starts at rest here"
    varied = np.array([column for column in np.array(starts[1]).T if column.std() > 0])
    if len(varied) > 1:
        correlations = np.corrcoef(varied)[np.triu_indices(len(varied), 1)]
        assert abs(correlations).max() < 4 / math.sqrt(many)


@pytest.mark.parametrize("script", ["cart_pole", "maze", "game_2048"])
def test_examples_run_as_scripts_and_are_short(script: str, tmp_path: Path, home: Path) -> None:
    said = run(f"compiled/{script}.py", tmp_path, home)
    assert re.search("balanced for 500 steps|█ █o█|points in", said)
    assert len((EXAMPLES / f"{script}.py").read_text("utf-8").splitlines()) < 150


@pytest.mark.parametrize("cls", compiled_envs.ENVS, ids=lambda cls: cls.__name__)
def test_observations_are_in_the_space_and_seeds_repeat_them(cls: type, pool_of: Callable[..., Any]) -> None:
    def play(seed: int) -> list[Any]:
        pool = pool_of(cls, env_type="gymnasium", num_envs=3, seed=seed, check=True, max_episode_steps=100)
        pool.action_space.seed(5)
        seen = [pool.reset()[0]]
        for _ in range(300):
            seen.append(pool.step(pool.action_space.sample())[0])
        return seen

    def same(first: Any, second: Any) -> bool:
        if isinstance(first, dict):
            return all(np.array_equal(first[key], second[key]) for key in first)
        return np.array_equal(first, second)

    first, again, other = play(8), play(8), play(9)
    assert all(map(same, first, again))
    assert not same(first[0], other[0])


# ---- the maze ----


def reset(cls: Any, seed: int, **kwargs: Any) -> Any:
    env = cls(0, **kwargs)
    env._seed_envpool(seed)
    env._reset_envpool()
    return env


@pytest.mark.parametrize("seed", range(20))
def test_there_is_one_way_between_any_two_cells_of_a_maze(seed: int) -> None:
    free = reset(Maze, seed).walls == 0
    places = np.argwhere(free).tolist()
    passages = (free[1:] & free[:-1]).sum() + (free[:, 1:] & free[:, :-1]).sum()
    assert passages == len(places) - 1, "a tree has one edge less than it has nodes"
    reached, todo = set(), [tuple(places[0])]
    while todo:
        row, column = place = todo.pop()
        if place not in reached and free[place]:
            reached.add(place)
            todo += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    assert len(reached) == len(places)


def test_a_maze_shows_walls_me_and_goal_and_ends_there() -> None:
    env = reset(Maze, 1, slip=0.0)
    picture = np.full(env.observation_space.shape, 7, np.uint8)
    env._make_obs_envpool(picture)
    assert np.array_equal(picture[:, :, 0], env.walls) and set(picture.ravel()) == {0, 255}
    assert np.argwhere(picture[:, :, 1]).tolist() == [[env.row, env.column]]
    assert np.argwhere(picture[:, :, 2]).tolist() == [[env.goal_row, env.goal_column]]
    env.walls[1, 1] = env.walls[1, 2] = 0
    env.row, env.column, env.goal_row, env.goal_column = 1, 1, 1, 2
    env._step_envpool(0)
    assert (env.row, env.column, env.steps) == (1, 1, 1), "a wall is no way"
    assert not env._done_envpool() and env._reward_envpool() == -0.01
    env._step_envpool(1)
    assert env._done_envpool() and env._reward_envpool() == 1.0
    assert env._info_envpool() == {"steps": 2}


def test_moves_go_astray_as_often_as_slip_says() -> None:
    env, astray = reset(Maze, 2, slip=0.4), 0
    env.walls[:, :] = 0
    for _ in range(3_000):
        env.row, env.column = 5, 5
        env._step_envpool(1)
        astray += env.column != 6
    assert abs(astray / 3_000 - 0.4 * 3 / 4) < 0.04, "a fourth of the slips goes where it should"


def test_a_maze_is_cut_short_after_400_steps() -> None:
    env = reset(Maze, 3)
    for step in range(400):
        assert not env._truncated_envpool(), step
        env._step_envpool(0)
    assert env._truncated_envpool()


# ---- 2048 ----


@pytest.mark.parametrize(
    ("before", "after", "merged"),
    [
        ([0, 0, 0, 1], [1, 0, 0, 0], 0),
        ([1, 1, 1, 1], [2, 2, 0, 0], 8),
        ([2, 1, 1, 0], [2, 2, 0, 0], 4),
        ([1, 0, 0, 1], [2, 0, 0, 0], 4),
        ([3, 3, 3, 0], [4, 3, 0, 0], 16),
        ([1, 1, 2, 0], [2, 2, 0, 0], 4),
        ([16, 16, 0, 1], [17, 1, 0, 0], 2**17),
    ],
)
@pytest.mark.parametrize("turns", range(4))
def test_a_line_slides_and_merges_each_tile_once(
    before: list[int], after: list[int], merged: int, turns: int
) -> None:
    env = reset(Game2048, 1)
    rows = np.zeros((4, 4), np.uint8)
    rows[2] = before
    env.board[:, :] = np.rot90(rows, -turns)
    env.merged = 0
    for line in range(4):
        env._slide((3 + turns) % 4, line)  # 3 is left, each turn of the board one action further
    assert np.rot90(env.board, turns)[2].tolist() == after and env.board.sum() == sum(after)
    assert env.merged == merged


def test_the_mask_is_of_the_moves_that_move_something() -> None:
    env, player, games = reset(Game2048, 4), Random(4), 0
    while games < 3:
        before, mask = env.board.copy(), env.action_mask.copy()
        for action in range(4):
            env.board[:, :] = before
            for line in range(4):
                env._slide(action, line)
            assert bool(mask[action]) == (not np.array_equal(env.board, before))
        env.board[:, :] = before
        assert env._done_envpool() == (not mask.any())
        if env._done_envpool():
            games += 1
            env._reset_envpool()
        else:
            action = player.choice(4)
            env._step_envpool(action)
            assert np.array_equal(env.board, before) != bool(mask[action])


def test_new_tiles_are_twos_and_sometimes_fours_anywhere() -> None:
    env = reset(Game2048, 5)
    places, fours = np.zeros((4, 4), int), 0
    for _ in range(3_000):
        env.board[:, :] = 0
        env._add_tile()
        places += env.board > 0
        fours += int(env.board.max() == 2)
        assert env.board.sum() in (1, 2)
    assert abs(fours / 3_000 - 0.1) < 0.025
    expected = 3_000 / 16
    assert ((places - expected) ** 2 / expected).sum() < 45, "chi-square with 15 degrees of freedom"
