"""The parts of the benchmark, and what they measure in processes of their own."""

import argparse
from typing import Any, Callable, Dict, Iterator, Union

from . import (
    checkpoint,
    classify,
    decode,
    encode,
    label_maps,
    outputs,
    predict,
    processes,
    scaling,
    seem,
    segments,
    sizes,
    startup,
    text,
    train,
)
from .exponents import Scaling
from .rows import Row

__all__ = ['BENCHMARKS', 'CASES']

Line = Union[Row, Scaling]


def _one_after_another(*parts: Callable[[argparse.Namespace], Iterator[Line]]) -> Any:
    return lambda args: (line for part in parts for line in part(args))


BENCHMARKS: Dict[str, Callable[[argparse.Namespace], Iterator[Line]]] = {
    'decode': decode.compare,
    'encode': encode.compare,
    'train': train.compare,
    'classify': classify.compare,
    'predict': predict.compare,
    'label-maps': label_maps.compare,
    'text': text.compare,
    'checkpoint': checkpoint.compare,
    'import': startup.compare,
    'seem': seem.compare,
    'tasks': _one_after_another(segments.compare, outputs.compare),
    'scaling': _one_after_another(scaling.compare, sizes.compare),
}
CASES: Dict[str, Callable[[argparse.Namespace], float]] = {
    name: peak
    for module in (decode, segments, outputs, classify, predict, label_maps, seem)
    for name, peak in module.PEAKS.items()
}
CASES.update(processes.CASES)
