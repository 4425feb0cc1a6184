"""What is found in the samples of a data set, counted and listed."""

from collections import defaultdict
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.dataset import BaseDataset

from ..draws import draws_of_their_own
from ..label_ids import LabelIds
from .checks import (
    DatasetError,
    LabelFacts,
    UnreadableFileError,
    describe_empty,
    propose_label_map,
)
from .sample_checks import SampleChecks, SampleFindings

__all__ = [
    'REMARKS',
    'Survey',
    'count_and_list',
    'survey_samples',
]

#: What is said of samples that can be used, but perhaps not as one thinks.
REMARKS = {
    'orientation': 'have an EXIF orientation, which the loader applies to the image and not to '
    'its label map: compare them, and save the images upright',
    'dark': 'are nearly black: 99 % of their values are at most 15 of 255. Scale values of 8 or 12 '
    'bits in files of 16 to 16 bits',
    'lossy labels': 'have a JPEG as label map, which changes ids: make it from the source as PNG',
    'hidden': 'have objects that show no pixel, because they lie below others or are too small: '
    'training goes without these',
    'ignored': 'have only ignored pixels',
    'unreadable': 'cannot be read: training takes others in their place, as max_damaged says',
    'unlabelled': 'were read without a label map: the pipeline has no LoadAnnotations',
}

#: How many findings of one kind a report has.
LISTED = 100
#: From which share of ignored pixels on a class that is never seen may be what they show.
_MUCH = 0.01


class Survey:
    """Adds up the findings of samples.

    Args:
        classes: The C classes of the data set, by its own names.
        ids: Which ids label maps may have. Defaults to None: those of C classes, and 255.
        facts: What the data sets do to the ids in files. Defaults to None: nothing.

    Attributes:
        read: Samples so far.
        pixels: How many pixels the valid label maps have.
        ignored: How many of them have the ignored id.
        errors: Texts of what was wrong, by kind.
        notes: Sentences on the data set as a whole.
        remarks: Images, by the keys of :data:`REMARKS`.
        images_of_class: (C,) int64, in how many images each class is seen.
        most_segments: The largest number of objects and regions of an image, and its path; None
            where the samples have label maps.
    """

    def __init__(
        self,
        classes: Sequence[str],
        ids: Optional[LabelIds] = None,
        facts: Optional[LabelFacts] = None,
    ) -> None:
        self.classes = list(classes)
        self.ids = ids or LabelIds(len(self.classes))
        self.facts = facts or LabelFacts()
        self.read = self.pixels = self.ignored = 0
        self.errors: Dict[str, List[str]] = defaultdict(list)
        self.notes: List[str] = []
        self.remarks: Dict[str, List[str]] = defaultdict(list)
        self.images_of_class = np.zeros(len(self.classes), np.int64)
        self.most_segments: Optional[Tuple[int, str]] = None
        self._surveyed_labels = 0

    def add(self, findings: SampleFindings) -> None:
        """Add what was found in a sample."""
        self.read += 1
        for kind, error in findings.errors:
            self.add_error(kind, error)
        for remark in findings.remarks:
            self.remarks[remark].append(findings.image)
        if findings.present is not None:
            self._surveyed_labels += 1
            self.pixels += findings.pixels
            self.ignored += findings.ignored
            self.images_of_class[: len(findings.present)] += findings.present
        if findings.segments is not None:
            found = (findings.segments, findings.image)
            self.most_segments = max(self.most_segments or found, found, key=lambda pair: pair[0])

    def add_error(self, kind: str, error: Exception) -> None:
        """Add an error, of a sample or of more."""
        self.errors[kind].append(str(error))

    def check_whole(self, training: bool = False) -> None:
        """Refuse a set in which all pixels are ignored.

        In training also one in which beside ignored ones only the first of several classes has
        pixels, as in masks of 0 and 255.

        Raises:
            DatasetError: With what may make them ignored.
        """
        ignored = len(self.remarks.get('ignored', ()))
        if ignored and ignored == self._surveyed_labels:
            raise DatasetError(
                f'all {ignored} label maps have only ignored pixels, the first that of '
                f'{self.remarks["ignored"][0]!r}: expected ids of the {len(self.classes)} '
                f'classes. {self._explain_ignored()}'
            )
        seen = np.flatnonzero(self.images_of_class).tolist()
        if training and self.most_segments is not None and not seen:
            raise DatasetError(
                f'none of {self._surveyed_labels} images has an object of the {len(self.classes)} '
                f'classes {self.classes[:10]}: expected some to train with. Look at the classes of '
                'the data set, and at the files of segments'
            )
        is_mask = seen == [0] if self.ids.rest_id is None else not seen
        missing = self.missing_classes()
        is_mask = is_mask and self.most_segments is None
        if training and is_mask and self._ignores_much() and missing:
            raise DatasetError(
                f'{self.describe_ignored()}, and the classes {missing[:10]} are in none of '
                f'{self._surveyed_labels} label maps. {self._explain_ignored()}'
            )

    def _ignores_much(self) -> bool:
        return self.ignored >= _MUCH * max(self.pixels, 1)

    def describe_ignored(self) -> str:
        """Say which part of the pixels does not count; empty if all count."""
        if not self.ignored:
            return ''
        share = 100 * self.ignored / self.pixels
        if self.most_segments is not None:
            return f'{share:.3g} % of the pixels are void and therefore ignored'
        return f'{self.ids.ignore_index} is {share:.3g} % of the pixels and therefore ignored'

    def _explain_ignored(self) -> str:
        """What may make pixels ignored, as far as the data set says it."""
        if self.most_segments is not None:
            return (
                'None of their segments has a class that counts: look at the classes of the data '
                'set and at the labels in the files'
            )
        if self.facts.reduces_zero:
            return (
                'reduce_zero_label=True ignores 0 and takes 1 from the others: set it only where '
                '0 is void'
            )
        if self.facts.label_map:
            ignored = [k for k, new in self.facts.label_map.items() if new == self.ids.ignore_index]
            return (
                f'label_map turns {ignored[:10]} into {self.ids.ignore_index}: '
                'let it turn the ids in the files into those of the classes'
            )
        seen = [self.ids.classes[index] for index in np.flatnonzero(self.images_of_class).tolist()]
        values = seen or [self.ids.channels[0]]
        proposal = propose_label_map([*values, self.ids.ignore_index], self.ids)
        if proposal is None:
            return f'Give pixels that count other ids than {self.ids.ignore_index} in the files'
        return f'If {self.ids.ignore_index} stands for a class, {proposal}'

    def warnings(self) -> List[str]:
        """A line for each kind of remark, one for classes that are never seen, and the notes."""
        lines = [
            f'{len(images)} of {self.read} images {REMARKS[kind]}; the first is {images[0]!r}'
            for kind, images in self.remarks.items()
        ]
        missing = self.missing_classes()
        if missing:
            line = (
                f'{len(missing)} of {len(self.classes)} classes are in none of '
                f'{self._surveyed_labels} label maps: {missing}'
            )
            has_labels = self.most_segments is None  # whose ids may be mistaken for void
            if has_labels and self._ignores_much() and not self.remarks.get('ignored'):
                line += f'; {self.describe_ignored()}. {self._explain_ignored()}'
            lines.append(line)
        return [*lines, *self.notes]

    def missing_classes(self) -> List[str]:
        """Classes that no label map has; empty if there is no valid label map."""
        if self._surveyed_labels == 0:
            return []
        return [name for name, count in zip(self.classes, self.images_of_class) if not count]

    def to_dict(self) -> Dict[str, Any]:
        """All of it as plain values."""
        return dict(
            read=self.read,
            errors={kind: count_and_list(texts) for kind, texts in self.errors.items()},
            warnings=self.warnings(),
            remarks={kind: count_and_list(images) for kind, images in self.remarks.items()},
            images_of_class=dict(zip(self.classes, self.images_of_class.tolist())),
            missing_classes=self.missing_classes(),
            pixels=self.pixels,
            ignored_pixels=self.ignored,
        )


def count_and_list(texts: Sequence[str]) -> Dict[str, Any]:
    """How many texts there are, and the first :data:`LISTED`."""
    return dict(count=len(texts), listed=list(texts[:LISTED]))


def survey_samples(
    survey: Survey,
    dataset: BaseDataset,
    ids: LabelIds,
    max_samples: int,
    max_damaged: int = 0,
) -> int:
    """Read evenly spread samples of a data set into a survey, up to the first error.

    Args:
        survey: Takes the findings.
        dataset: A data set of mmseg, without wrappers.
        ids: Which ids label maps may have.
        max_samples: How many are read.
        max_damaged: How many samples of the survey may have files that cannot be read.

    Returns:
        How many samples were read.
    """
    if len(dataset) == 0:  # not serialised
        raise DatasetError(describe_empty(dataset))
    count = min(len(dataset), max_samples)
    with draws_of_their_own():  # which loaders of somebody's own may use
        checks = SampleChecks(dataset, ids)
        for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
            findings = checks[index]
            if findings.errors:
                error = findings.errors[0][1]
                damaged = len(survey.remarks.get('unreadable', ()))
                if not isinstance(error, UnreadableFileError) or damaged >= max_damaged:
                    raise error
                findings = findings._replace(errors=[], remarks=['unreadable'], present=None)
            survey.add(findings)
    return count
