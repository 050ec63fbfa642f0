"""Lists of different lengths, one after another in one array."""

from __future__ import annotations

import numpy as np


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, ... (lengths[0] of them), then starts[1], ...: one array of int64.

    Derived in book/rcf.md.
    """
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Where each list starts, and the end of the last: [len(lengths) + 1].

    Derived in book/rcf.md.
    """
    return np.concatenate([[0], np.cumsum(lengths)])
