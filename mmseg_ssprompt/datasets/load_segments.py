"""Objects in a pipeline: loaded, moved with their image, and packed."""

import io
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS
from PIL import Image

from ..label_ids import IGNORED_8_BITS
from ..segments import IGNORED, find_large_segments, make_gt_segments, renumber_segments
from .checks import DatasetError
from .segment_maps import PICTURES, SegmentMap, draw_instances, keep_segments, read_picture

__all__ = ['LoadSegments', 'PackSegmentInputs']

#: What stands for void in a pipeline: transforms of mmseg fill it in where there is no image. No
#: segment has this number; those from it on are one more than their index.
_VOID = IGNORED_8_BITS
_MOST = 65_000


@TRANSFORMS.register_module()
class LoadSegments(BaseTransform):
    """Load the segments of a record of a :class:`SegmentsDataset`, in place of label maps.

    As with ``LoadAnnotations``, it stands before what changes sizes in training, and after it in
    testing, where predictions have the image's own size.

    Args:
        with_label_map: Whether to make a label map of the segments too (``gt_seg_map``), for
            metrics of label maps: the class of each pixel, with ``ignore_index`` where it has
            none. Defaults to False.
        ignore_index: Of that label map: 255, or 65535 for more than 255 classes. Defaults to 255.
        allow_missing: Whether an image without segments is passed on without any, which is for
            predictions. Defaults to False.
        backend_args: Of mmengine's storage backend. Defaults to None.
    """

    #: What it loads, for checks of pipelines.
    loads = 'segment map'
    #: What decodes the pictures.
    imdecode_backend = 'pillow'

    def __init__(
        self,
        with_label_map: bool = False,
        ignore_index: int = IGNORED_8_BITS,
        allow_missing: bool = False,
        backend_args: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.with_label_map = with_label_map
        self.ignore_index = ignore_index
        self.allow_missing = allow_missing
        self.backend_args = backend_args

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Load ``gt_segment_map`` (H, W) uint16 and ``segments_info``.

        Raises:
            DatasetError: If the record has no segments, or picture, list and image do not fit, with
                the file and the id.
        """
        segments = results.get('segments')
        if segments is None:
            # Records of data sets have seg_fields; `inference_model` and `MMSegInferencer` make
            # others of a picture, and take out mmseg's own loader of annotations only.
            if self.allow_missing or 'seg_fields' not in results:
                return results
            raise DatasetError(
                f'image {str(results.get("img_path"))!r}: expected segments, found none. '
                'LoadSegments needs a data set with objects, such as CityscapesPanopticDataset, '
                'with the folder of their pictures in data_prefix.seg_map_path or with ann_file; '
                'pictures without them are for predictions, with LoadSegments(allow_missing=True)'
            )
        self._check_size(segments.get('size'), 'segments', results)
        if segments['kind'] in PICTURES:
            content = fileio.get(segments['path'], backend_args=self.backend_args)
            picture = np.array(Image.open(io.BytesIO(content)))
            self._check_size(picture.shape[:2], 'the picture of segments', results)
            found = read_picture(picture, segments)
        else:
            found = draw_instances(segments)
        if 'kept' in segments:
            found = keep_segments(found, segments)
        if len(found.infos) > _MOST:
            raise DatasetError(
                f'segments {segments["path"]!r}: expected at most {_MOST} of an image, found '
                f'{len(found.infos)}'
            )
        numbers = found.numbers + (found.numbers >= _VOID)
        results['gt_segment_map'] = np.where(numbers == IGNORED, _VOID, numbers).astype(np.uint16)
        results['segments_info'] = [
            dict(info, pixels=pixels) for info, pixels in zip(found.infos, found.pixels)
        ]
        fields: List[str] = results.setdefault('seg_fields', [])
        fields.append('gt_segment_map')
        if self.with_label_map:
            results['gt_seg_map'] = self._make_labels(found)
            fields.append('gt_seg_map')
        return results

    def _check_size(self, size: Any, what: str, results: Dict[str, Any]) -> None:
        shape = results.get('ori_shape')
        if size is None or shape is None or tuple(size) == tuple(shape[:2]):
            return
        segments = results['segments']
        raise DatasetError(
            f'{what} in {segments["path"]!r}: expected {shape[0]} x {shape[1]} (height x width) as '
            f'image {str(results.get("img_path"))!r} has, found {size[0]} x {size[1]}. Are they '
            'those of other images?'
        )

    def _make_labels(self, found: SegmentMap) -> np.ndarray:
        classes = [info['category_id'] for info in found.infos]
        classes = [self.ignore_index if number < 0 else number for number in classes]
        table = np.array([*classes, self.ignore_index])  # which -1 finds too
        kind = np.uint8 if self.ignore_index <= IGNORED_8_BITS else np.uint16
        return np.asarray(table[found.numbers].astype(kind))

    def __repr__(self) -> str:
        return (
            f'LoadSegments(with_label_map={self.with_label_map}, '
            f'allow_missing={self.allow_missing})'
        )


@TRANSFORMS.register_module()
class PackSegmentInputs(PackSegInputs):
    """mmseg's ``PackSegInputs``, which packs segments too, as ``gt_segments``.

    Segments of which crops and resizing have left fewer pixels than ``min_pixels`` are dropped, and
    these pixels are void: neither the object nor background.

    Args:
        min_pixels: Pixels from which on a segment is kept. Defaults to 1: those with any. With 0
            also those that others hide are kept, which count as missed in panoptic quality.
        meta_keys: As for ``PackSegInputs``; ``img_id`` is packed too.
    """

    def __init__(
        self, min_pixels: int = 1, meta_keys: Sequence[str] = (*PackSegInputs().meta_keys, 'img_id')
    ) -> None:
        if type(min_pixels) is not int or min_pixels < 0:
            raise ValueError(
                f'PackSegmentInputs.min_pixels: expected a whole number from 0 on, found '
                f'{min_pixels!r}'
            )
        super().__init__(meta_keys=meta_keys)
        self.min_pixels = min_pixels

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Pack ``inputs`` and ``data_samples``.

        Raises:
            DatasetError: If a transform has moved the image without the segments, or has changed
                their numbers.
        """
        packed: Dict[str, Any] = super().transform(results)
        if 'gt_segment_map' not in results:
            return packed
        if results.get('swap_seg_labels'):
            raise DatasetError(
                'RandomFlip.swap_seg_labels exchanges numbers in label maps, which are those of '
                'objects here. Leave it out'
            )
        found: np.ndarray = results['gt_segment_map']
        self._check_shape(found, results)
        infos = results['segments_info']
        numbers = found.astype(np.int64)
        numbers = np.where(found == _VOID, IGNORED, numbers - (numbers > _VOID))
        numbers[numbers >= len(infos)] = IGNORED  # what a transform has filled in
        kept = find_large_segments(numbers, len(infos), self.min_pixels)
        numbers = renumber_segments(numbers, kept, len(infos))
        keys = ('id', 'category_id', 'iscrowd', 'area')
        entries: Any = [{key: infos[index][key] for key in keys} for index in kept]
        packed['data_samples'].gt_segments = make_gt_segments(numbers, entries)
        return packed

    def _check_shape(self, found: np.ndarray, results: Dict[str, Any]) -> None:
        image = results.get('img')
        shapes = [
            shape[:2]
            for shape in (getattr(image, 'shape', None), results.get('ori_shape'))
            if shape is not None
        ]
        if shapes and found.shape not in [tuple(shape) for shape in shapes]:
            raise DatasetError(
                f'image {str(results.get("img_path"))!r}: expected segments of the size of the '
                f'image, {shapes[0][0]} x {shapes[0][1]} (height x width), found '
                f'{found.shape[0]} x {found.shape[1]}. Let each transform of your own move what '
                "results['seg_fields'] names"
            )
