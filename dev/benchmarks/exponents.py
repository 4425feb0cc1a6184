"""How a figure grows with a size: the slope of its logarithm against that of the size."""

import argparse
import math
import statistics
from dataclasses import dataclass
from typing import List, Mapping, Sequence

from .rows import Run, measure_turns

__all__ = ['Scaling', 'find_exponent', 'make_scaling', 'measure_scaling']


@dataclass
class Scaling:
    """One line of the table of sizes.

    An exponent of 1 says that the figure is proportional to the size, 0 that it does not depend on
    it.
    """

    name: str
    size: str  # what the sizes count
    sizes: List[int]
    values: List[float]
    unit: str
    exponent: float


def find_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the least-squares line through the logarithms."""
    logarithms = ([math.log(number) for number in numbers] for numbers in (sizes, values))
    return statistics.linear_regression(*logarithms).slope


def make_scaling(
    name: str, size: str, sizes: Sequence[int], values: Sequence[float], unit: str = 's'
) -> Scaling:
    """The line of a figure for each size."""
    exponent = find_exponent(sizes, values)
    return Scaling(name, size, list(sizes), list(values), unit, exponent)


def measure_scaling(
    args: argparse.Namespace, name: str, size: str, runs: Mapping[int, Run]
) -> Scaling:
    """Seconds for each size, in turns, after the smallest has been run once."""
    runs[min(runs)]()
    turns = measure_turns(args, *runs.values())
    return make_scaling(name, size, list(runs), [statistics.median(each) for each in zip(*turns)])
