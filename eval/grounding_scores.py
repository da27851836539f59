"""How good verdicts are: recall of each, and balanced accuracy of "supported or not"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def macro_recall(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """The mean, over the verdicts that ``labels`` hold, of the share that got that verdict as the likeliest."""
    likeliest = probabilities.argmax(1)
    return float(np.mean([np.mean(likeliest[labels == label] == label) for label in np.unique(labels)]))


def supported_accuracy(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Balanced accuracy of two ways: the mean of the share of supported ones that were called supported, and of
    the others that were not. Supported is called what has that verdict as the likeliest."""
    said = probabilities.argmax(1) == 0
    return float((np.mean(said[labels == 0]) + np.mean(~said[labels != 0])) / 2)
