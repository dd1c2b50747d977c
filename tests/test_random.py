"""`Random`: its numbers are fixed, and they are as random as they say.

Seeds are fixed, so nothing fails by chance; bounds are those that good numbers exceed once in 10,000 seeds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from envpool_protocol.random import Random, _log, _normal_quantile

MANY = 50_000


def chi_square_excess(counts: NDArray[Any], expected: Any) -> float:
    """By how many standard deviations a chi-square statistic is too large (Wilson and Hilferty)."""
    freedom = counts.size - 1
    statistic = float(((counts - expected) ** 2 / expected).sum())
    spread = 2 / (9 * freedom)
    return ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)


def assert_even(values: Iterable[Any], kinds: int) -> None:
    """Each of so many kinds comes as often as any other."""
    counter = Counter(values)
    assert len(counter) <= kinds
    counts = np.array([*counter.values(), *[0] * (kinds - len(counter))], float)
    assert chi_square_excess(counts, counts.sum() / kinds) < 4


def assert_distributed(values: Iterable[float], below: Callable[[float], float]) -> None:
    """Kolmogorov and Smirnov's test against a distribution function."""
    expected = np.array([below(x) for x in sorted(values)])
    steps = np.arange(len(expected) + 1) / len(expected)
    distance = max((steps[1:] - expected).max(), (expected - steps[:-1]).max())
    assert distance * math.sqrt(len(expected)) < 2.2


def identity(u: float) -> float:
    return u


def normal_below(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def exponential_below(x: float) -> float:
    return -math.expm1(-x)


# ---- the numbers, which nobody may change ----


def test_bits_are_those_of_xoshiro128_plus_plus() -> None:
    generator = Random()
    generator.a, generator.b, generator.c, generator.d = 1, 2, 3, 4
    assert [generator.bits() for _ in range(10)] == [
        641,
        1573767,
        3222811527,
        3517856514,
        836907274,
        4247214768,
        3867114732,
        1355841295,
        495546011,
        621204420,
    ]


@pytest.mark.parametrize(
    ("seed", "stream", "first"),
    [
        (0, 0, [226284677, 2179647536, 781115142]),
        (1, 0, [1967113509, 596622876, 2338300034]),
        (0, 1, [3363332352, 547223457, 2594880313]),
        (-1, 0, [2480844679, 1198512582, 1034033997]),
        (2**40 + 5, 7, [3414267538, 2488574948, 1282324762]),
    ],
)
def test_each_seed_and_stream_has_its_numbers(seed: int, stream: int, first: list[int]) -> None:
    generator = Random(seed, stream)
    assert [generator.bits() for _ in first] == first
    generator.seed(seed, stream)
    assert [generator.bits() for _ in first] == first


@pytest.mark.parametrize(
    ("draw", "first", "second"),
    [
        (lambda r: r.uniform(), "0x1.5cf1d70341359p-1", "0x1.08a8dcd98c1e0p-2"),
        (lambda r: r.uniform(-3, 5), "0x1.39e3ae06826b2p+1", "-0x1.dd5c8c99cf880p-1"),
        (lambda r: r.normal(), "0x1.e351052487826p-2", "-0x1.4bd52c656dd06p-1"),
        (lambda r: r.normal(1, 2.5), "0x1.1709519b6a58cp+1", "-0x1.3d94eefd92890p-1"),
        (lambda r: r.exponential(2), "0x1.889cf262413afp-1", "0x1.5a5ffeb6c653dp+1"),
    ],
)
def test_draws_of_seed_42(draw: Callable[[Random], float], first: str, second: str) -> None:
    generator = Random(42)
    assert [draw(generator).hex(), draw(generator).hex()] == [first, second]


def test_integers_of_seed_42() -> None:
    generator = Random(42)
    assert [generator.integers(-5, 100) for _ in range(4)] == [66, 0, 22, 68]
    generator = Random(42)
    assert generator.integers(-(2**62), 2**61) == 1674342689207905074
    assert generator.integers(-(2**62), 2**61) == -2227844112398410232
    generator = Random(42)
    assert [generator.choice(7) for _ in range(4)] == [4, 0, 1, 4]


def test_order_of_seed_42() -> None:
    generator, order = Random(42), [0] * 10
    generator.permutation(order)
    assert order == [5, 7, 1, 3, 9, 8, 4, 2, 0, 6]
    generator.shuffle(order)
    assert order == [3, 0, 8, 2, 4, 9, 6, 1, 5, 7]


# ---- logarithm and quantile ----


@pytest.mark.parametrize("x", [2.0**-53, 1 - 2.0**-53, 0.5, math.sqrt(0.5), 2.0**-8, 2.0**-52, 0.9999, 1e-9])
def test_logarithm_is_one(x: float) -> None:
    assert abs(_log(x) - math.log(x)) <= 2 * math.ulp(math.log(x))


def test_logarithm_is_one_everywhere() -> None:
    generator = Random(5)
    for _ in range(5_000):
        x = generator._inside() * 2.0 ** -generator.integers(0, 30)
        assert abs(_log(x) - math.log(x)) <= 2 * math.ulp(math.log(x))


def test_normal_quantile_undoes_the_distribution_function() -> None:
    generator = Random(6)
    for _ in range(5_000):
        u = 0.5 * generator._inside() * 2.0 ** -generator.integers(0, 40)
        x = _normal_quantile(u)
        # What eight units in the last place of x, ours and those of x / sqrt(2), do to u; and erfc's own.
        slope = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        assert abs(normal_below(x) - u) <= slope * 8 * math.ulp(x) + 8 * math.ulp(u)


@pytest.mark.parametrize(
    ("u", "x"),  # to 17 digits, from tables
    [
        (0.5, 0.0),
        (0.75, 0.67448975019608174),
        (0.975, 1.9599639845400543),
        (0.999, 3.0902323061678135),
        (1e-9, -5.9978070150076868),
        (2.0**-53, -8.2095361516013856),
    ],
)
def test_known_normal_quantiles(u: float, x: float) -> None:
    assert _normal_quantile(u) == pytest.approx(x, rel=1e-15)
    assert _normal_quantile(1 - u) == pytest.approx(-x, rel=1e-15) or u == 1e-9


# ---- the distributions ----


def test_uniform_numbers_are_uniform() -> None:
    generator = Random(1)
    drawn = np.array([generator.uniform() for _ in range(MANY)])
    assert drawn.min() >= 0 and drawn.max() < 1
    assert_distributed(drawn, identity)
    assert_even((drawn * 1024).astype(int), 1024)
    lowest = (drawn * 2.0**53).astype(np.int64)
    assert np.array_equal(lowest * 2.0**-53, drawn), "multiples of 2**-53"
    assert_even(lowest & 1023, 1024)


def test_uniform_numbers_of_an_interval_stay_in_it() -> None:
    generator = Random(2)
    drawn = [(generator.uniform(-3, 5) + 3) / 8 for _ in range(MANY)]
    assert_distributed(drawn, identity)


def test_normal_numbers_are_normal() -> None:
    generator = Random(3)
    drawn = np.array([generator.normal() for _ in range(MANY)])
    assert_distributed(drawn, normal_below)
    for power, moment, spread in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((drawn**power).mean() - moment) < 4 * math.sqrt(spread / MANY)
    for limit in (2.5, 3.0, 3.5):
        expected = 2 * MANY * normal_below(-limit)
        assert abs((abs(drawn) > limit).sum() - expected) < 4 * math.sqrt(expected)
    generator.seed(3)
    assert [2 + 0.5 * x for x in drawn[:100]] == [generator.normal(2, std=0.5) for _ in range(100)]


def test_exponential_numbers_are_exponential() -> None:
    generator = Random(4)
    drawn = np.array([generator.exponential() for _ in range(MANY)])
    assert drawn.min() > 0
    assert_distributed(drawn, exponential_below)
    assert abs(drawn.mean() - 1) < 4 / math.sqrt(MANY)
    assert abs((drawn**2).mean() - 2) < 4 * math.sqrt(20 / MANY)
    generator.seed(4)
    assert [3 * x for x in drawn[:100]] == [generator.exponential(3) for _ in range(100)]


@pytest.mark.parametrize("count", [2, 3, 6, 10, 1000])
def test_small_integers_are_even(count: int) -> None:
    generator = Random(count)
    drawn = [generator.integers(-1, count - 1) for _ in range(MANY)]
    assert (min(drawn), max(drawn)) == (-1, count - 2)
    assert_even(drawn, count)


@pytest.mark.parametrize("count", [3 * 2**29, 3 * 2**30, 3 * 2**61, 5 * 2**60])
def test_integers_of_counts_that_do_not_divide_the_words_are_even(count: int) -> None:
    """Without the draws that are thrown away, some of these would come half as often again as others."""
    generator = Random(8)
    drawn = [generator.integers(0, count) for _ in range(MANY)]
    assert_even([value * 60 // count for value in drawn], 60)
    assert_even([value % 60 for value in drawn], 60)


def test_largest_ranges() -> None:
    generator = Random(9)
    for low, high in [(-(2**63), -1), (0, 2**63 - 1), (-(2**62), 2**62 - 1), (2**63 - 2, 2**63 - 1)]:
        drawn = [generator.integers(low, high) for _ in range(200)]
        assert low <= min(drawn) and max(drawn) < high
        assert len(set(drawn)) == min(200, high - low)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (5, 4), (-(2**63), 2**63 - 1), (0, -(2**63))])
def test_ranges_without_integers_are_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="needs low < high"):
        Random().integers(low, high)


def test_a_choice_from_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs low < high"):
        Random().choice(0)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint64, np.float32])
def test_narrow_arguments_count_by_their_value(kind: Any) -> None:
    """NumPy's scalars keep their narrow type beside Python's numbers, and overflow or round in it."""
    assert Random(1).integers(kind(1), kind(100)) == Random(1).integers(1, 100)
    assert Random(1).uniform(kind(1), kind(100)) == Random(1).uniform(1, 100)
    assert Random(1).normal(kind(1), kind(100)) == Random(1).normal(1, 100)
    assert Random(1).exponential(kind(3)) == Random(1).exponential(3)


def test_every_permutation_comes_as_often_as_any_other() -> None:
    generator, order = Random(10), np.zeros(4, np.int64)
    drawn = []
    for _ in range(24 * 400):
        generator.permutation(order)
        drawn.append(tuple(order))
    assert set(drawn) == set(permutations(range(4)))
    assert_even(drawn, 24)


def test_shuffling_puts_every_card_everywhere() -> None:
    generator, size = Random(11), 20
    places = [[0] * size for _ in range(size)]
    for _ in range(2000):
        deck = list(range(size))
        generator.shuffle(deck)
        for place, card in enumerate(deck):
            places[card][place] += 1
    counts = np.array(places, float)
    assert counts.sum(axis=1).tolist() == [2000] * size
    assert chi_square_excess(counts, 2000 / size) < 4


@pytest.mark.parametrize("size", [0, 1])
def test_what_has_no_order_stays_as_it_is(size: int) -> None:
    generator, order = Random(1), np.full(size, 7)
    generator.shuffle(order)
    assert order.tolist() == [7] * size
    generator.permutation(order)
    assert order.tolist() == [0] * size


# ---- independence ----


def test_draws_do_not_tell_the_next_ones() -> None:
    generator = Random(12)
    drawn = np.array([generator.uniform() for _ in range(MANY)])
    for lag in range(1, 20):
        assert abs(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1]) < 4 / math.sqrt(MANY)
    assert_even(map(tuple, (drawn.reshape(-1, 2) * 16).astype(int)), 256)


def test_first_draws_of_consecutive_seeds_are_uniform_and_independent() -> None:
    """An env's first state is drawn right after seeding, and pools seed their envs one after the other."""
    drawn = np.array([[g.uniform(), g.uniform()] for g in map(Random, range(20_000))])
    for column in drawn.T:
        assert_distributed(column, identity)
        for lag in range(1, 20):
            assert abs(np.corrcoef(column[:-lag], column[lag:])[0, 1]) < 4 / math.sqrt(len(column))
    assert_even(map(tuple, (drawn * 16).astype(int)), 256)
    pairs = np.column_stack([drawn[:-1, 0], drawn[1:, 0]])
    assert_even(map(tuple, (pairs * 16).astype(int)), 256)


@pytest.mark.parametrize("of", ["seed", "stream"])
def test_long_draws_of_consecutive_streams_are_uncorrelated(of: str) -> None:
    generators = [Random(**{of: i}) for i in range(50)]
    drawn = np.array([[generator.uniform() for _ in range(1000)] for generator in generators])
    correlations = np.corrcoef(drawn)[np.triu_indices(50, 1)] * math.sqrt(1000)
    assert_distributed(correlations, normal_below)
    assert abs(correlations).max() < 5


def test_every_bit_of_a_seed_changes_half_of_the_state() -> None:
    """Of 128 bits, 64 with a spread of 6."""

    def state(seed: int, stream: int) -> int:
        generator = Random(seed, stream)
        return sum(getattr(generator, name) << 32 * i for i, name in enumerate("abcd"))

    for base, stream in [(0, 0), (42, 3)]:
        before = state(base, stream)
        near = [state(base ^ 1 << bit, stream) for bit in range(64)]
        near += [state(base, stream ^ 1 << bit) for bit in range(32)]
        changed = [(before ^ after).bit_count() for after in near]
        assert min(changed) >= 38 and max(changed) <= 90
        assert abs(np.mean(changed) - 64) < 3


def test_no_seed_leads_to_the_state_of_zeros_and_none_to_anothers() -> None:
    """The mixing can be undone: seed, stream and a constant are found again in each state."""
    word = 0xFFFFFFFF

    def turned(x: int, by: int) -> int:
        return ((x >> by) | (x << (32 - by))) & word

    for seed, stream in [(0, 0), (-1, 2**32 - 1), (1234567890123456789, 5)]:
        generator = Random(seed, stream)
        a, b, c, d = generator.a, generator.b, generator.c, generator.d
        for _ in range(10):
            for turn_b, turn_d in ((7, 8), (12, 16)):
                b = turned(b, turn_b) ^ c
                c = (c - d) & word
                d = turned(d, turn_d) ^ a
                a = (a - b) & word
        assert (a, b, c) == (seed & word, (seed >> 32) & word, stream) and d != 0
