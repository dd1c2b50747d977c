"""The game 2048 as hooks that compile, with masked actions. Run this file to play at random, interpreted."""

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary

from envpool_protocol import EnvPoolProtocol
from envpool_protocol.random import Random

SIZE = 4


class Game2048(EnvPoolProtocol):
    """Slide all tiles up (0), right (1), down (2) or left (3): equal neighbours merge, then a tile appears.

    The board shows exponents, 0 where it is empty. The reward is the sum of the merged tiles. `action_mask`
    tells which moves move something; others change nothing. The game is over when it is all zeros.
    """

    observation_space = Dict({"board": Box(0, 17, (SIZE, SIZE), np.uint8), "action_mask": MultiBinary(4)})
    action_space = Discrete(4)
    state_envpool = {
        "board": (np.uint8, (SIZE, SIZE)),
        "action_mask": (np.int8, (4,)),
        "merged": np.int64,
        "random": Random,
    }

    def _reset_envpool(self):
        self.board[:, :] = 0
        self.merged = 0
        self._add_tile()
        self._add_tile()
        self._find_moves()

    def _step_envpool(self, action):
        self.merged = 0
        if self.action_mask[action]:
            for line in range(SIZE):
                self._slide(action, line)
            self._add_tile()
            self._find_moves()

    def _make_obs_envpool(self):
        return {"board": self.board, "action_mask": self.action_mask}

    def _done_envpool(self):
        return not self.action_mask.any()

    def _reward_envpool(self):
        return float(self.merged)

    @staticmethod
    def _cell(action, line, place):
        """Row and column of a place on a line, counted from the side that tiles slide to."""
        if action == 0:
            return place, line
        if action == 1:
            return line, SIZE - 1 - place
        if action == 2:
            return SIZE - 1 - place, line
        return line, place

    def _slide(self, action, line):
        free = 0  # the next place that a tile comes to lie on
        may_merge = False  # whether the tile before it is not a merged one
        for place in range(SIZE):
            cell = self._cell(action, line, place)
            tile = self.board[cell]
            if tile == 0:
                continue
            self.board[cell] = 0
            before = self._cell(action, line, max(free - 1, 0))
            if may_merge and self.board[before] == tile:
                self.board[before] = tile + 1
                self.merged += 2 << int(tile)
                may_merge = False
            else:
                self.board[self._cell(action, line, free)] = tile
                free += 1
                may_merge = True

    def _add_tile(self):
        """A 2, or rarely a 4, on one of the empty cells."""
        empty = 0
        for tile in self.board.flat:
            empty += tile == 0
        skip = self.random.choice(empty)
        for row in range(SIZE):
            for column in range(SIZE):
                if self.board[row, column] == 0:
                    if skip == 0:
                        self.board[row, column] = 1 if self.random.uniform() < 0.9 else 2
                    skip -= 1

    def _find_moves(self):
        for action in range(4):
            self.action_mask[action] = 0
            for line in range(SIZE):
                for place in range(1, SIZE):
                    tile = self.board[self._cell(action, line, place)]
                    before = self.board[self._cell(action, line, place - 1)]
                    if tile != 0 and (before == 0 or before == tile):
                        self.action_mask[action] = 1


if __name__ == "__main__":
    env, player, score, moves = Game2048(0), Random(7), 0.0, 0
    env._seed_envpool(7)
    env._reset_envpool()
    while not env._done_envpool():
        env._step_envpool(player.choice(4))
        score += env._reward_envpool()
        moves += 1
    print(np.where(env.board > 0, 1 << env.board.astype(int), 0))
    print(f"{score:.0f} points in {moves} moves")
