"""Whether a label map becomes the ids that lie in its file."""

from typing import Any, Dict, List, NamedTuple, Optional

import mmcv
import numpy as np
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations

from .checks import DatasetError, read_with
from .label_maps import LoadLabelMap
from .pictures import PictureHeader, read_picture

__all__ = ['CheckedLabels', 'check_labels']


class CheckedLabels(NamedTuple):
    """A sample whose label map was read.

    Attributes:
        sample: With what the loader has filled.
        remarks: Keys of :data:`.survey.REMARKS`.
    """

    sample: Dict[str, Any]
    remarks: List[str]


def check_labels(loader: Any, sample: Dict[str, Any]) -> CheckedLabels:
    """Read a label map with its loader, and refuse one whose ids would change on the way.

    mmseg's loader makes bytes of all values, so that 256 becomes 0, and drops sides of one pixel.

    Args:
        loader: mmseg's ``LoadAnnotations`` or our ``LoadLabelMap``. Others are only
            run, because they may read something else than ``seg_map_path``.
        sample: What ``dataset.get_data_info`` gives.

    Raises:
        DatasetError: If the file cannot be read or is damaged, has more pixels than the loader
            decodes or a side of one pixel, or holds values that the loader would change.
    """
    path = sample.get('seg_map_path')
    if isinstance(loader, LoadLabelMap) and (path is None or loader.allow_missing):
        return CheckedLabels(read_with(loader, sample, 'label map'), [])
    if type(loader) not in (LoadAnnotations, LoadLabelMap):
        return CheckedLabels(read_with(loader, sample, 'label map'), [])
    header = read_picture(loader, path, 'label map')
    lossy = header is not None and header.format in ('JPEG', 'MPO')
    if isinstance(loader, LoadLabelMap):  # which keeps all values, or says why it does not
        return CheckedLabels(read_with(loader, sample), ['lossy labels'] * lossy)
    if header is not None:
        _check_sides(header, path)
    if header is None or loader.imdecode_backend != 'pillow' or header.mode not in ('1', 'L', 'P'):
        _check_values(loader, path)
    elif header.mode == 'L' and header.raw_mode != 'L':
        raise DatasetError(
            f'label map {str(path)!r}: expected one byte for each pixel, found grey of fewer bits '
            f'({header.raw_mode!r}), which Pillow stretches to 0 ... 255, so that ids change. '
            'Save it with 8 bits, or with a palette'
        )
    return CheckedLabels(read_with(loader, sample), ['lossy labels'] * lossy)


def _check_sides(header: PictureHeader, path: Optional[str]) -> None:
    if min(header.width, header.height) == 1:
        raise DatasetError(
            f'label map {str(path)!r}: expected at least 2 pixels on each side, found '
            f'{header.height} x {header.width} (height x width), of which mmseg drops the side of '
            'one pixel. Leave the image out, or pad both'
        )


def _check_values(loader: LoadAnnotations, path: Optional[str]) -> None:
    """Refuse values that do not fit a byte; those of files of one byte need not be looked at."""
    content = fileio.get(path, backend_args=loader.backend_args)
    try:
        values = mmcv.imfrombytes(content, flag='unchanged', backend=loader.imdecode_backend)
    except Exception:  # the loader will say it
        return
    if values is None or values.ndim != 2:  # likewise
        return
    with np.errstate(invalid='ignore'):  # NaN has no integer
        as_bytes = values.astype(np.uint8)
    wrong = as_bytes != values
    if wrong.any():
        found, where = np.unique(values[wrong], return_index=True)
        raise DatasetError(
            f'label map {str(path)!r}: expected whole numbers from 0 to 255, found '
            f'{found[:10].tolist()} ({values.dtype}) in {int(wrong.sum())} pixels, of which mmseg '
            f'would make {as_bytes[wrong][where[:10]].tolist()}. Save ids of one byte; for more '
            "than 255 classes, load label maps with dict(type='LoadLabelMap', ignore_index=65535)"
        )
