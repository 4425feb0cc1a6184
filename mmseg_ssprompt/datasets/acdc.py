"""ACDC: Cityscapes' classes in fog, at night, in rain and in snow."""

import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS

from .checks import DatasetError

__all__ = ['ACDC_CONDITIONS', 'ACDCDataset']

#: The conditions of ACDC, which are the names of its folders.
ACDC_CONDITIONS = ('fog', 'night', 'rain', 'snow')
_SPLITS = ('train', 'val', 'test')


@DATASETS.register_module()
class ACDCDataset(CityscapesDataset):
    """ACDC (*The Adverse Conditions Dataset with Correspondences*) as it is released.

    ::

        rgb_anon/{fog,night,rain,snow}/{train,val,test}/GOPR*/*_rgb_anon.png
        gt/{fog,night,rain,snow}/{train,val}/GOPR*/*_gt_labelTrainIds.png

    Classes, their order and palette are those of Cityscapes; 255 is void. The labels of the test
    split are not public: give ``data_prefix=dict(img_path='rgb_anon')`` to predict on it.

    Args:
        conditions: Some of 'fog', 'night', 'rain', 'snow'. Defaults to None: all.
        split: 'train', 'val' or 'test'. Defaults to 'train'.
        img_suffix: End of an image's name. Defaults to '_rgb_anon.png'.
        seg_map_suffix: End of a label map's name. Defaults to '_gt_labelTrainIds.png'.
        data_prefix: The folders that have the conditions' folders, beneath ``data_root``.
            Defaults to None: 'rgb_anon' and 'gt'.
        **kwargs: As for ``BaseSegDataset``.

    Raises:
        ValueError: If a condition or the split is unknown, or no condition is given.
        DatasetError: If there is no image of a condition.
    """

    def __init__(
        self,
        conditions: Optional[Sequence[str]] = None,
        split: str = 'train',
        img_suffix: str = '_rgb_anon.png',
        seg_map_suffix: str = '_gt_labelTrainIds.png',
        data_prefix: Optional[Dict[str, str]] = None,
        **kwargs: Any,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f'ACDC: unknown split {split!r}: expected one of {list(_SPLITS)}')
        chosen = ACDC_CONDITIONS if conditions is None else conditions
        is_list = isinstance(chosen, (list, tuple))
        if not is_list or not chosen or not set(chosen) <= set(ACDC_CONDITIONS):
            raise ValueError(
                f'ACDC: conditions must be a list of some of {list(ACDC_CONDITIONS)}, '
                f'got {conditions!r}'
            )
        self.conditions = tuple(each for each in ACDC_CONDITIONS if each in chosen)
        self.split = split
        super().__init__(
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            data_prefix=data_prefix or dict(img_path='rgb_anon', seg_map_path='gt'),
            **kwargs,
        )

    def load_data_list(self) -> List[Dict[str, Any]]:
        """A record for each image of the conditions and the split, sorted by path."""
        root, found = self.data_prefix['img_path'], dict.fromkeys(self.conditions, 0)
        data_list = []
        for record in super().load_data_list():
            folders = Path(os.path.relpath(record['img_path'], root)).parts
            if folders[0] in found and folders[1:2] == (self.split,):
                found[folders[0]] += 1
                data_list.append(record)
        missing = [f'{condition}/{self.split}' for condition, count in found.items() if not count]
        if missing:
            raise DatasetError(
                f"ACDC: expected '*{self.img_suffix}' images of each of {list(self.conditions)} in "
                f'{root!r}, found none in {missing}'
            )
        return data_list
