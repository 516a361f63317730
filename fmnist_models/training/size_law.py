"""What more passes over the images are worth to a network: a law of its size.

Trials of equal time see the images as often as their network's size allows. In few passes a small
network is ahead that a larger one overtakes later, so errors are compared as they are expected
after more passes, by a law that `python -m benchmarks.accuracy.size_law_fit` fits to recordings on
Fashion-MNIST: errors of 8 to 12 % of small networks after 2 to 32 passes (results/passes.md), and
how those of a search's configurations came down in seven times as many (results/foretold.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

GAIN_OF_SIZE = 0.17
"""With so much of the work's power, inverse, goes the error that enough passes come down to."""
PASSES_OF_SIZE, SMALL = 0.2, 1.6e6
"""After p passes over the images a network of SMALL multiply-accumulates has 1 + 1 / sqrt(p) times
the error that it comes down to; the excess grows with so much of the work's power."""
USUAL = 5.5e6
"""The work of a network of which it was not kept."""


@dataclass(frozen=True)
class NetworkSize:
    """macs: multiply-accumulates of an image; passes: over the values that its layers write."""

    macs: float
    passes: float

    @classmethod
    def of(cls, kept: object) -> NetworkSize | None:
        """As it is kept with a trial; None where it is not."""
        if not isinstance(kept, Mapping):
            return None
        macs, passes = kept.get("macs"), kept.get("passes")
        if not isinstance(macs, int | float) or not isinstance(passes, int | float) or macs <= 0:
            return None
        return cls(macs, passes)

    def wider(self, times: float) -> NetworkSize:
        """With all widths times so many."""
        return NetworkSize(self.macs * times**2, self.passes * times)


def error_after(passes: float, size: NetworkSize | None) -> float:
    """The error after so many passes over the images, over that of one and the same task.

    `size` is None where it was not kept.
    """
    macs = size.macs if size else USUAL
    still: float = (macs / SMALL) ** PASSES_OF_SIZE / sqrt(passes)
    come_down_to: float = macs**-GAIN_OF_SIZE
    return come_down_to * (1 + still)
