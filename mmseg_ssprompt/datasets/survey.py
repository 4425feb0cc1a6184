"""What was found in all samples of a data set, counted and listed."""

from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np
from torch.utils.data import Dataset

from .checks import DatasetError, UnreadableFileError, describe_empty
from .sample_checks import SampleChecks, SampleFindings

__all__ = ['REMARKS', 'Listing', 'Survey', 'survey_samples']

#: What is said of samples that can be used, but perhaps not as one thinks.
REMARKS = {
    'orientation': 'have an EXIF orientation, which the loader applies to the image and not to '
    'its label map: compare them, and save the images upright',
    'alpha': 'have an alpha channel, which is dropped',
    '16 bits': 'have 16 bits a channel, of which the upper 8 are kept',
    'lossy labels': 'have a JPEG as label map, which changes ids: make it from the source as PNG',
    'ignored': 'have only ignored pixels',
    'unreadable': 'cannot be read: training takes others in their place, as max_damaged says',
    'unlabelled': 'were read without a label map: the pipeline has no LoadAnnotations',
}

#: How many findings of one kind are kept.
LISTED = 100


class Listing(NamedTuple):
    """How often something was found, and the first of it.

    Attributes:
        count: Samples.
        listed: The first :data:`LISTED`: error texts, or images.
    """

    count: int
    listed: List[str]

    def with_one_more(self, text: str) -> 'Listing':
        """One sample more."""
        return Listing(self.count + 1, [*self.listed, text][:LISTED])


class Survey:
    """Adds up the findings of samples.

    Args:
        classes: The C classes of the data set, by its own names.

    Attributes:
        read: Samples so far.
        errors: What was wrong, by kind.
        remarks: Images, by the keys of :data:`REMARKS`.
        images_of_class: (C,) int64, in how many images each class is seen.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.read = 0
        self.errors: Dict[str, Listing] = {}
        self.remarks: Dict[str, Listing] = {}
        self.images_of_class = np.zeros(len(self.classes), np.int64)
        self._surveyed_labels = 0

    def add(self, findings: SampleFindings) -> None:
        """Add what was found in a sample."""
        self.read += 1
        for kind, error in findings.errors:
            self.add_error(kind, error)
        for remark in findings.remarks:
            self.remarks[remark] = _listing(self.remarks, remark).with_one_more(findings.image)
        if findings.present is not None:
            self._surveyed_labels += 1
            self.images_of_class[: len(findings.present)] += findings.present

    def add_error(self, kind: str, error: Exception) -> None:
        """Add an error, of a sample or of more."""
        self.errors[kind] = _listing(self.errors, kind).with_one_more(str(error))

    @property
    def unreadable(self) -> int:
        """Samples that were let pass although their files cannot be read."""
        return _listing(self.remarks, 'unreadable').count

    def check_whole(self) -> None:
        """Refuse a set in which nothing is labelled.

        Raises:
            DatasetError: If all label maps have only ignored pixels.
        """
        ignored = _listing(self.remarks, 'ignored').count
        if ignored and ignored == self._surveyed_labels:
            raise DatasetError(
                f'all {ignored} label maps have only ignored pixels, the first that of '
                f'{self._first("ignored")}: expected ids of the {len(self.classes)} classes. '
                'reduce_zero_label=True ignores 0 and takes 1 from the others: set it only where '
                '0 is void'
            )

    def warnings(self) -> List[str]:
        """A line for each kind of remark, and one for classes that are never seen."""
        lines = [
            f'{listing.count} of {self.read} images {REMARKS[kind]}; the first is '
            f'{self._first(kind)}'
            for kind, listing in self.remarks.items()
        ]
        missing = self.missing_classes()
        if missing:
            lines.append(
                f'{len(missing)} of {len(self.classes)} classes are in none of '
                f'{self._surveyed_labels} label maps: {missing}'
            )
        return lines

    def missing_classes(self) -> List[str]:
        """Classes that no label map has; none if there is no valid label map."""
        if self._surveyed_labels == 0:
            return []
        return [
            name for name, images in zip(self.classes, self.images_of_class.tolist()) if not images
        ]

    def to_dict(self) -> Dict[str, Any]:
        """All of it as plain values."""
        return dict(
            read=self.read,
            errors={kind: listing._asdict() for kind, listing in self.errors.items()},
            warnings=self.warnings(),
            remarks={kind: listing._asdict() for kind, listing in self.remarks.items()},
            images_of_class=dict(zip(self.classes, self.images_of_class.tolist())),
            missing_classes=self.missing_classes(),
        )

    def _first(self, kind: str) -> str:
        return repr(self.remarks[kind].listed[0])


def _listing(listings: Dict[str, Listing], kind: str) -> Listing:
    return listings.get(kind, Listing(0, []))


def survey_samples(
    survey: Survey,
    dataset: Dataset,
    num_classes: int,
    ignore_index: int,
    max_samples: int,
    max_damaged: int = 0,
) -> int:
    """Read evenly spread samples of a data set into a survey, up to the first error.

    Args:
        survey: To which findings are added.
        dataset: A data set of mmseg, without wrappers.
        num_classes: ``C``.
        ignore_index: The label that does not count.
        max_samples: How many are read; more are thinned out evenly.
        max_damaged: How many samples of the survey may have files that cannot be read.

    Returns:
        How many samples were read.

    Raises:
        DatasetError: If there is no sample, or one cannot be read or does not fit.
    """
    if len(dataset) == 0:  # not serialised
        raise DatasetError(describe_empty(dataset))
    checks = SampleChecks(dataset, num_classes, ignore_index)
    count = min(len(dataset), max_samples)
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        findings = checks[index]
        if findings.errors:
            error = findings.errors[0][1]
            if not isinstance(error, UnreadableFileError) or max_damaged <= survey.unreadable:
                raise error
            findings = findings._replace(errors=[], remarks=['unreadable'], present=None)
        survey.add(findings)
    return count
