"""Chance as a function of place: hashes of (seed, purpose, integer coordinates), the same for any window.

Only integer operations and IEEE's exact ones (+ - * / and square root) are used: no libm function whose last bit
differs between machines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

T = TypeVar("T")

MASK = (1 << 64) - 1
GOLD = 0x9E3779B97F4A7C15
"""splitmix64's increment, 2^64 / golden ratio (Steele, Lea, Flood: Fast splittable pseudorandom number generators)."""
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(z: int) -> int:
    """splitmix64's finaliser of one 64-bit number."""
    z = ((z ^ (z >> 30)) * FIRST) & MASK
    z = ((z ^ (z >> 27)) * SECOND) & MASK
    return z ^ (z >> 31)


def mix_array(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser of each element, in place."""
    z ^= z >> np.uint64(30)
    z *= np.uint64(FIRST)
    z ^= z >> np.uint64(27)
    z *= np.uint64(SECOND)
    z ^= z >> np.uint64(31)
    return z


def key(seed: int, purpose: str, *place: int) -> int:
    """A 64-bit hash of a seed, a purpose and a place on an integer lattice."""
    h = mix((seed + GOLD) & MASK)
    for number in (*purpose.encode(), *place):
        h = mix(((h ^ (number & MASK)) + GOLD) & MASK)
    return h


class Dice:
    """A stream of numbers that begins at a key: the same key, the same numbers."""

    __slots__ = ("state",)

    def __init__(self, state: int) -> None:
        self.state = state

    def random(self) -> float:
        """A float in [0, 1)."""
        self.state = (self.state + GOLD) & MASK
        return (mix(self.state) >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        """A float in [low, high)."""
        return low + (high - low) * self.random()

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self.random() < p

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[int(self.random() * len(choices))]

    def array(self, count: int) -> NDArray[np.float64]:
        """The next numbers in [0, 1) of the stream, (count,) float64."""
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLD) + np.uint64(self.state)
        self.state = (self.state + count * GOLD) & MASK
        return (mix_array(z) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def smooth(t: float) -> float:
    """The smoothstep of a number in [0, 1]."""
    return t * t * (3.0 - 2.0 * t)


def value_at(seed: int, purpose: str, x: float, y: float) -> float:
    """Smooth value noise of period 1 at one place, in [-1, 1)."""
    i, j = int(x // 1), int(y // 1)
    fx, fy = smooth(x - i), smooth(y - j)
    corner = [[key(seed, purpose, i + a, j + b) * 2.0**-63 - 1.0 for a in (0, 1)] for b in (0, 1)]
    top = corner[0][0] + (corner[0][1] - corner[0][0]) * fx
    bottom = corner[1][0] + (corner[1][1] - corner[1][0]) * fx
    return top + (bottom - top) * fy


def hashes(state: int, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One hash a lattice point, (len(rows), len(cols)) uint64."""
    down = mix_array((rows.astype(np.uint64) + np.uint64(1 << 32)) * np.uint64(GOLD) + np.uint64(state))
    right = (cols.astype(np.uint64) + np.uint64(1 << 32)) * np.uint64(FIRST)
    return mix_array(down[:, None] + right[None, :])


def field(state: int, period: int, rows: slice, cols: slice) -> NDArray[np.float32]:
    """Smooth value noise of a period in pixels over a window, (h, w) float32 in [-1, 1)."""
    y, x = np.arange(rows.start, rows.stop), np.arange(cols.start, cols.stop)
    j, i = y // period, x // period
    fy = ((y - j * period + 0.5) / period).astype(np.float32)
    fx = ((x - i * period + 0.5) / period).astype(np.float32)
    fy, fx = fy * fy * (3 - 2 * fy), fx * fx * (3 - 2 * fx)
    lattice = hashes(state, np.arange(j[0], j[-1] + 2), np.arange(i[0], i[-1] + 2)) >> np.uint64(40)
    value = lattice.astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    left = value[:, i - i[0]]
    across = left + (value[:, i - i[0] + 1] - left) * fx[None, :]
    above = across[j - j[0]]
    out: NDArray[np.float32] = above + (across[j - j[0] + 1] - above) * fy[:, None]
    return out
