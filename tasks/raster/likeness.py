"""Pictures that look alike: a hash of 256 bits that recompression hardly changes, and near-linear search among many.

The mean of all bands is shrunk to 32 x 32; the hash is the signs of its lowest 16 x 16 cosine coefficients but the
first, in order of their frequency (as pHash does, Zauner 2010, with signs for comparisons with the median). Scale and
offset of the pixels do not matter. How often it is wrong was measured: docs/datasets.md.

Two hashes that differ in fewer than 16 bits share one of 16 words of 16 bits, and those that differ in some more nearly
always do, for the first words hold the stable low frequencies: only pairs that share one are compared (multi-index
hashing, Norouzi and others 2012, arXiv:1307.2982).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SMALL, KEPT, WORDS = 32, 16, 16
ALIKE = 24
"""Bits of 255 by which two hashes of the same picture may differ."""
FLAT = 2.0
"""Standard deviation of a 32 x 32 picture below which it shows nothing that could be told from noise; in grey levels of
uint8, and in 1/255 of the picture's own range for other dtypes."""
CROWD = 256
"""Pictures with the same word above which the word tells nothing; they have 15 others."""
BLANK = b""
"""The hash of what shows nothing."""


def look(image: NDArray[np.generic], valid: NDArray[np.bool_]) -> bytes:
    """The hash of a picture, 32 bytes; none for one that shows nothing.

    Args:
        image: (band, y, x), any dtype.
        valid: (y, x); elsewhere the mean is taken.
    """
    from PIL import Image
    from scipy.fft import dctn

    known = valid & np.isfinite(image).all(axis=0)
    if not known.any():
        return BLANK
    grey = np.where(known, image.mean(axis=0, dtype=np.float64), 0.0)
    grey = np.where(known, grey, grey[known].mean())
    span = 255.0 if image.dtype == np.uint8 else max(float(grey.max() - grey.min()), 1e-12)
    picture = Image.fromarray((grey / span * 255).astype(np.float32))
    small = np.asarray(picture.resize((SMALL, SMALL), Image.Resampling.BOX), np.float64)
    if small.std() < FLAT:
        return BLANK
    return np.packbits(dctn(small, norm="ortho")[_ORDER] > 0).tobytes()


def _by_frequency() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the coefficients, lowest frequencies first, without the mean."""
    rows, cols = np.divmod(np.arange(KEPT * KEPT), KEPT)
    order = np.lexsort((rows, rows * rows + cols * cols))[1:]
    return rows[order], cols[order]


_ORDER = _by_frequency()


def pairs_alike(hashes: list[bytes], split: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Pairs of numbers of pictures in different splits whose hashes differ in at most `ALIKE` bits, and in how many.

    A pair may come more than once; of those with the same hash in the same split only one is paired. Takes time in
    proportion to the number of pictures.
    """
    # One of those that are the same in the same split stands for all.
    told = {(one, int(part)): n for n, (one, part) in enumerate(zip(hashes, split, strict=True)) if one != BLANK}
    shown = np.array(sorted(told.values()), np.int64)
    if not len(shown):
        return
    bits = np.frombuffer(b"".join(hashes[n] for n in shown), np.uint8).reshape(len(shown), 2 * WORDS)
    words, splits = bits.view(np.uint16), split[shown]
    for column in words.T:
        order = np.argsort(column, kind="stable")
        same = column[order]
        crowd = np.diff(np.append(np.flatnonzero(np.diff(same, prepend=same[:1] ^ 1)), len(same)))
        dull = np.repeat(crowd > CROWD, crowd)
        # Neighbours at every distance within a word's run of equal values: no run is longer than CROWD.
        for step in range(1, min(CROWD, int(crowd.max()))):
            first = np.flatnonzero((same[:-step] == same[step:]) & ~dull[:-step])
            if not len(first):
                break
            one, other = order[first], order[first + step]
            apart = splits[one] != splits[other]
            one, other = one[apart], other[apart]
            differ = np.bitwise_count(bits[one] ^ bits[other]).sum(axis=1, dtype=np.int64)
            for n in np.flatnonzero(differ <= ALIKE):
                yield int(shown[one[n]]), int(shown[other[n]]), int(differ[n])
