"""Training with objects, against training with the label maps of the same pictures."""

import argparse
from functools import partial
from typing import Callable, Dict, Iterator, List, Tuple

import torch
from mmengine.structures import PixelData
from torch import Tensor

from mmseg_ssprompt.analysis.complexity.measuring import measure_peak
from mmseg_ssprompt.segments import TrueSegment, make_gt_segments

from .rows import Row, compare_peaks, take_turns
from .train import TrainingStep

__all__ = ['PEAKS', 'compare']

OBJECTS = 20  # in each picture, in four rows, on a region of stuff
ROWS, COLUMNS = 4, 5


class ObjectStep(TrainingStep):
    """A training step with either kind of labels of the same pictures."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.labelled = self.samples
        self.segmented = [sample.clone() for sample in self.samples]
        for labelled, segmented in zip(self.labelled, self.segmented):
            numbers, classes = draw_objects(self.images.shape[-1], args.classes)
            label_map = torch.tensor(classes)[numbers]
            labelled.gt_sem_seg = PixelData(data=label_map[None].to(args.device))
            del segmented.gt_sem_seg
            infos = [
                TrueSegment(id=i + 1, category_id=c, iscrowd=0, area=int((numbers == i).sum()))
                for i, c in enumerate(classes)
            ]
            segmented.gt_segments = make_gt_segments(numbers, infos).to(args.device)

    def of_label_maps(self) -> Tensor:
        """A step whose segments are the classes."""
        self.samples = self.labelled
        return self.from_embedding()

    def of_objects(self) -> Tensor:
        """A step whose segments are the objects."""
        self.samples = self.segmented
        return self.from_embedding()


def draw_objects(side: int, classes: int) -> Tuple[Tensor, List[int]]:
    """A map of segments (S, S), and their classes: one in two objects has that of another."""
    numbers = torch.full((side, side), OBJECTS)
    height, width = side // ROWS, side // COLUMNS
    for number in range(OBJECTS):
        top, left = height * (number // COLUMNS), width * (number % COLUMNS)
        numbers[top + height // 4 : top + height, left + width // 4 : left + width] = number
    objects = torch.randint(min(OBJECTS // 2, classes - 1), (OBJECTS,)).tolist()
    return numbers, [*objects, classes - 1]


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time and peak memory of a step."""
    case = ObjectStep(args)
    case.of_objects(), case.of_label_maps()
    name = f'training step with {OBJECTS} objects, over one with label maps'
    yield take_turns(args, name, case.of_objects, case.of_label_maps)
    if not args.small:
        yield compare_peaks(args, f'{name}, peak memory', 'step-objects', 'step-labels')


def _peak(kind: str, args: argparse.Namespace) -> float:
    case = ObjectStep(args)
    return measure_peak(getattr(case, kind), torch.device(args.device))


PEAKS: Dict[str, Callable[[argparse.Namespace], float]] = {
    'step-objects': partial(_peak, 'of_objects'),
    'step-labels': partial(_peak, 'of_label_maps'),
}
