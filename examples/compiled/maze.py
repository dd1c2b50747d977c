"""A maze, seen from above, as hooks that compile. Run this file to see one, interpreted."""

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from envpool_protocol import EnvPoolProtocol
from envpool_protocol.random import Random

SIZE = 17  # cells of the maze lie where row and column are odd, walls and passages between them
WALL, ME, GOAL = 0, 1, 2  # channels of the picture
MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])  # up, right, down, left


class Maze(EnvPoolProtocol):
    """Find the goal. Each episode has another maze; a move goes astray with probability `slip`.

    A step costs 0.01, the goal is worth 1, and after 400 steps the episode is cut short.
    """

    observation_space = Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    action_space = Discrete(4)
    info_space = Dict({"steps": Box(0, 400, (), np.int64)})
    state_envpool = {
        "walls": (np.uint8, (SIZE, SIZE)),
        "row": np.int64,
        "column": np.int64,
        "goal_row": np.int64,
        "goal_column": np.int64,
        "steps": np.int64,
        "slip": np.float64,
        "random": Random,
    }

    def __init__(self, envid, slip=0.1):
        self.slip = slip

    def _reset_envpool(self):
        self._build()
        self.row, self.column = self._random_cell(), self._random_cell()
        self.goal_row, self.goal_column = self.row, self.column
        while self._at_goal():
            self.goal_row, self.goal_column = self._random_cell(), self._random_cell()
        self.steps = 0

    def _step_envpool(self, action):
        if self.random.uniform() < self.slip:
            action = self.random.choice(4)
        row = self.row + MOVES[action, 0]
        column = self.column + MOVES[action, 1]
        if not self.walls[row, column]:
            self.row, self.column = row, column
        self.steps += 1

    def _make_obs_envpool(self, out):
        out[:, :, WALL] = self.walls
        out[:, :, ME:] = 0
        out[self.row, self.column, ME] = 255
        out[self.goal_row, self.goal_column, GOAL] = 255

    def _done_envpool(self):
        return self._at_goal()

    def _truncated_envpool(self):
        return self.steps >= 400

    def _reward_envpool(self):
        return 1.0 if self._at_goal() else -0.01

    def _info_envpool(self):
        return {"steps": self.steps}

    def _at_goal(self):
        return self.row == self.goal_row and self.column == self.goal_column

    def _random_cell(self):
        return 1 + 2 * self.random.choice(SIZE // 2)

    def _build(self):
        """Each cell opens the wall above it or the one to its left, so there is one way between any two."""
        self.walls[:, :] = 255
        for row in range(1, SIZE, 2):
            for column in range(1, SIZE, 2):
                self.walls[row, column] = 0
                up = row > 1 and (column == 1 or self.random.choice(2) == 1)
                if up:
                    self.walls[row - 1, column] = 0
                elif column > 1:
                    self.walls[row, column - 1] = 0


if __name__ == "__main__":
    env = Maze(0)
    env._seed_envpool(7)
    env._reset_envpool()
    picture = np.empty(env.observation_space.shape, np.uint8)
    env._make_obs_envpool(picture)
    for line in picture.astype(bool):
        print("".join("█" if wall else "o" if me else "x" if goal else " " for wall, me, goal in line))
