"""Random numbers for envs: the same ones interpreted and compiled, on every platform, in every version.

The generator is xoshiro128++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021),
in integers that fit into int64. What is drawn from it is made of integers, and of + - * / and square roots of
float64, whose last bit IEEE 754 fixes; that of a logarithm it does not. How many words a draw takes and what
becomes of them is part of the promise: the tests hold the numbers.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar

import numpy as np

_WORD = 0xFFFFFFFF
_LARGEST = 0x7FFFFFFFFFFFFFFF  # of an int64
_LN2_HIGH = 0x162E42FEE / 2**33  # times any exponent of a float64 this is exact; the rest of ln 2 is below
_LN2_LOW = 1.9082149292705877e-10


class Random:
    """A generator of random numbers, for a field of an env's state: `state_envpool = {"random": Random}`.

    Such a field is seeded with its env. It is an ordinary object where the env is interpreted, and part of
    its record where it is compiled; nothing here allocates then.
    """

    state_envpool: ClassVar[dict[str, Any]] = dict.fromkeys(("a", "b", "c", "d"), np.int64)

    def __init__(self, seed: int = 0, stream: int = 0) -> None:
        self.seed(seed, stream)

    def seed(self, seed: int, stream: int = 0) -> None:
        """Start again. Each pair of an int64 `seed` and a `stream` below 2**32 has numbers of its own."""
        # Rounds of ChaCha's quarter mix these 128 bits and can be undone: different pairs never start in the
        # same state, and none starts in the state of zeros, which would last.
        a, b, c, d = int(seed) & _WORD, (int(seed) >> 32) & _WORD, int(stream) & _WORD, 0x9E3779B9
        for _ in range(10):
            a = (a + b) & _WORD
            d ^= a
            d = ((d << 16) | (d >> 16)) & _WORD
            c = (c + d) & _WORD
            b ^= c
            b = ((b << 12) | (b >> 20)) & _WORD
            a = (a + b) & _WORD
            d ^= a
            d = ((d << 8) | (d >> 24)) & _WORD
            c = (c + d) & _WORD
            b ^= c
            b = ((b << 7) | (b >> 25)) & _WORD
        self.a = a
        self.b = b
        self.c = c
        self.d = d

    def bits(self) -> int:
        """The next 32 random bits, as an integer."""
        a = self.a
        b = self.b
        d = self.d
        total = (a + d) & _WORD
        c = self.c ^ a
        d ^= b
        self.a = a ^ d
        self.b = b ^ c
        self.c = c ^ ((b << 9) & _WORD)
        self.d = ((d << 11) | (d >> 21)) & _WORD
        return (((total << 7) | (total >> 25)) + a) & _WORD

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number of [low, high), one of 2**53 in equal distances."""
        low = float(low) + 0.0  # float64; Numba's float() leaves a float32 what it is
        return low + (float(high) - low) * (((self.bits() >> 5) * 2**26 + (self.bits() >> 6)) * 2.0**-53)

    def normal(self, mean: float = 0.0, std: float = 1.0) -> float:
        """A normally distributed number."""
        return float(mean) + float(std) * _normal_quantile(self._inside())

    def exponential(self, scale: float = 1.0) -> float:
        """An exponentially distributed number, of mean `scale`."""
        return float(scale) * -_log(self._inside())

    def integers(self, low: int, high: int) -> int:
        """An integer of low, ..., high - 1, each as likely as any other; ValueError if there is none."""
        low = int(low) + 0  # int64; Numba's int() leaves an unsigned number unsigned
        count = int(high) - low
        if count <= 0 or count > _LARGEST:
            raise ValueError("integers(low, high) needs low < high, less than 2**63 apart")
        if count < 2**31:  # Lemire, "Fast random integer generation in an interval", 2019
            product = self.bits() * count
            if product & _WORD < count:
                while product & _WORD < 2**32 % count:
                    product = self.bits() * count
            return low + (product >> 32)
        value = self._bits63()
        while value - value % count > _LARGEST - count + 1:  # of the last, incomplete run of `count`
            value = self._bits63()
        return low + value % count

    def choice(self, count: int) -> int:
        """An index of something with `count` elements; ValueError if there are none."""
        return self.integers(0, count)

    def shuffle(self, array: Any) -> None:
        """Put the elements of an array of one dimension in random order, in place."""
        for last in range(len(array) - 1, 0, -1):
            other = self.integers(0, last + 1)
            array[last], array[other] = array[other], array[last]

    def permutation(self, out: Any) -> None:
        """Fill an array of one dimension with 0, ..., len(out) - 1 in random order."""
        for i in range(len(out)):
            out[i] = i
        self.shuffle(out)

    def _bits63(self) -> int:
        return (self.bits() << 31) | (self.bits() >> 1)

    def _inside(self) -> float:
        """A number inside of (0, 1), one of 2**52 that lie symmetrically; `1 - it` is exact."""
        return ((self.bits() >> 6) * 2**26 + (self.bits() >> 6) + 0.5) * 2.0**-52


def _log(x: float) -> float:
    """The natural logarithm of x in (0, 1), to two units in the last place."""
    exponent = 0.0
    while x < 2.0**-8:
        x *= 2.0**8
        exponent -= 8.0
    while x < 0.7071067811865476:
        x *= 2.0
        exponent -= 1.0
    # log x = 2 artanh s; the series ends where a term is below a quarter of the last place.
    s = (x - 1.0) / (x + 1.0)
    z = s * s
    tail = 1 / 15 + z * (1 / 17 + z * (1 / 19 + z * (1 / 21 + z * (1 / 23))))
    tail = z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + z * tail))))))
    return exponent * _LN2_HIGH + (2.0 * s + (2.0 * s * tail + exponent * _LN2_LOW))


def _normal_quantile(u: float) -> float:
    """The x that a standard normal variable is below with probability u, to about 16 digits.

    Wichura, "Algorithm AS 241: The percentage points of the normal distribution", 1988.
    """
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        above = 3.3430575583588128105e4 + r * 2.5090809287301226727e3
        above = 4.5921953931549871457e4 + r * (6.7265770927008700853e4 + r * above)
        above = 1.9715909503065514427e3 + r * (1.3731693765509461125e4 + r * above)
        above = 3.3871328727963666080e0 + r * (1.3314166789178437745e2 + r * above)
        below = 2.8729085735721942674e4 + r * 5.2264952788528545610e3
        below = 2.1213794301586595867e4 + r * (3.9307895800092710610e4 + r * below)
        below = 6.8718700749205790830e2 + r * (5.3941960214247511077e3 + r * below)
        return q * above / (1.0 + r * (4.2313330701600911252e1 + r * below))
    r = sqrt(-_log(min(u, 1.0 - u)))
    if r <= 5.0:
        r -= 1.6
        above = 2.27238449892691845833e-2 + r * 7.74545014278341407640e-4
        above = 1.27045825245236838258e0 + r * (2.41780725177450611770e-1 + r * above)
        above = 5.76949722146069140550e0 + r * (3.64784832476320460504e0 + r * above)
        above = 1.42343711074968357734e0 + r * (4.63033784615654529590e0 + r * above)
        below = 5.47593808499534494600e-4 + r * 1.05075007164441684324e-9
        below = 1.48103976427480074590e-1 + r * (1.51986665636164571966e-2 + r * below)
        below = 1.67638483018380384940e0 + r * (6.89767334985100004550e-1 + r * below)
        x = above / (1.0 + r * (2.05319162663775882187e0 + r * below))
    else:
        r -= 5.0
        above = 2.71155556874348757815e-5 + r * 2.01033439929228813265e-7
        above = 2.65321895265761230930e-2 + r * (1.24266094738807843860e-3 + r * above)
        above = 1.78482653991729133580e0 + r * (2.96560571828504891230e-1 + r * above)
        above = 6.65790464350110377720e0 + r * (5.46378491116411436990e0 + r * above)
        below = 1.42151175831644588970e-7 + r * 2.04426310338993978564e-15
        below = 7.86869131145613259100e-4 + r * (1.84631831751005468180e-5 + r * below)
        below = 1.36929880922735805310e-1 + r * (1.48753612908506148525e-2 + r * below)
        x = above / (1.0 + r * (5.99832206555887937690e-1 + r * below))
    return -x if q < 0.0 else x
