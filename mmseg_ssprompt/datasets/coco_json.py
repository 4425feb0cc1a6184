"""COCO's files of annotations, panoptic and of instances, read and compared with what they say."""

import json
from collections import Counter
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from mmengine import fileio

from ..plain import DICT, Kind, find_problem, is_number, shorten
from ..segments import LAST_ID
from .checks import DatasetError
from .coco_masks import find_mask_problem

__all__ = ['CocoFile', 'find_instance_problem', 'read_coco_file']

_LIST = Kind('a list', lambda value: isinstance(value, list))
_ID = Kind('an id', lambda value: isinstance(value, (int, str)) and not isinstance(value, bool))
_NUMBER = Kind('a whole number', lambda value: type(value) is int)
_SIDE = Kind('a positive number of pixels', lambda value: type(value) is int and value > 0)
_TEXT = Kind('a text', lambda value: isinstance(value, str) and value != '')
_CROWD = Kind('0 or 1', lambda value: value in (0, 1))
_AREA = Kind('a number', is_number)

_IMAGE = dict(id=_ID, file_name=_TEXT, height=_SIDE, width=_SIDE)
_SEGMENT = dict(id=_NUMBER, category_id=_NUMBER, iscrowd=_CROWD, area=_AREA)
_PANOPTIC = dict(image_id=_ID, file_name=_TEXT, segments_info=_LIST)
_INSTANCE = dict(id=_ID, image_id=_ID, category_id=_NUMBER, iscrowd=_CROWD, area=_AREA)
_CATEGORY = dict(id=_NUMBER, name=_TEXT)


class CocoFile(NamedTuple):
    """What a file of annotations has.

    Attributes:
        path: Of the file.
        categories: Names by ids.
        things: Ids of categories that are things (``isthing``); None if the file does not say.
        images: Entries of ``images``, each with its ``annotations``, in the file's order.
        is_panoptic: Whether it is in COCO's panoptic format, in which each image has one.
        is_labelled: Whether there are any annotations.
    """

    path: str
    categories: Dict[int, str]
    things: Optional[List[int]]
    images: List[Dict[str, Any]]
    is_panoptic: bool
    is_labelled: bool


def read_coco_file(path: str, backend_args: Any = None) -> CocoFile:
    """Read a file of annotations, and compare what it says with itself.

    Args:
        path: A JSON file in COCO's panoptic format, or in that of instances.
        backend_args: Of mmengine's storage backend. Defaults to None.

    Raises:
        DatasetError: If it is no such file, or an entry is not as expected, with its id.
    """
    content = _load(path, backend_args)
    problem = find_problem(
        content, dict(images=_LIST, annotations=_LIST, categories=_LIST), needed=['images']
    )
    if problem is not None:
        raise _error(path, problem)
    categories, annotations = (content.get(key) or [] for key in ('categories', 'annotations'))
    for key, kinds in (('images', _IMAGE), ('categories', _CATEGORY)):
        entries = content.get(key) or []
        for entry in entries:
            _check_entry(path, key, entry, kinds)
        _check_unique(path, f'ids of {key}', [entry['id'] for entry in entries])
    images = {each['id']: dict(each, annotations=[]) for each in content['images']}
    _check_unique(path, 'file_name of images', [each['file_name'] for each in images.values()])
    is_panoptic = any(DICT.fits(each) and 'segments_info' in each for each in annotations)
    for entry in annotations:
        _check_entry(path, 'annotations', entry, _PANOPTIC if is_panoptic else _INSTANCE)
        if entry['image_id'] not in images:
            raise _error(
                path,
                f'annotation {_name(entry)}: expected the id of one of the {len(images)} images, '
                f'found image_id {entry["image_id"]!r}',
            )
        images[entry['image_id']]['annotations'].append(entry)
    if is_panoptic:
        for image in images.values():
            _check_panoptic(path, image)
    else:
        _check_unique(path, 'ids of annotations', [entry['id'] for entry in annotations])
    says = categories and all('isthing' in each for each in categories)
    return CocoFile(
        path,
        {each['id']: each['name'] for each in categories},
        [each['id'] for each in categories if each['isthing']] if says else None,
        list(images.values()),
        is_panoptic,
        bool(annotations),
    )


def find_instance_problem(
    file: CocoFile, image: Mapping[str, Any], entry: Mapping[str, Any]
) -> Optional[str]:
    """Say what is wrong with the mask of an object, or None."""
    problem = find_mask_problem(entry.get('segmentation'), (image['height'], image['width']))
    if problem is None:
        return None
    return (
        f'annotation file {file.path!r}: annotation {entry["id"]!r} of image '
        f'{image["file_name"]!r}, segmentation: {problem}'
    )


def _load(path: str, backend_args: Any) -> Any:
    try:
        return json.loads(fileio.get_text(path, backend_args=backend_args))
    except FileNotFoundError:
        raise DatasetError(f'annotation file {path!r}: no such file. Set ann_file') from None
    except ValueError as error:  # also of texts that are not UTF-8
        raise _error(path, f'expected a JSON file, found {error}') from error


def _check_panoptic(path: str, image: Mapping[str, Any]) -> None:
    """Refuse an image with several annotations or none, and wrong ids of segments."""
    annotations, where = image['annotations'], f'segments_info of image {image["file_name"]!r}'
    if len(annotations) != 1:
        name = image['file_name']
        raise _error(path, f'expected one annotation of image {name!r}, found {len(annotations)}')
    infos = annotations[0]['segments_info']
    for info in infos:
        _check_entry(path, where, info, _SEGMENT)
        if not 0 < info['id'] <= LAST_ID:
            raise _error(
                path, f'{where}: expected ids from 1 to {LAST_ID} (0 is void), found {info["id"]}'
            )
    _check_unique(path, f'ids in {where}', [info['id'] for info in infos])


def _check_entry(path: str, key: str, entry: Any, kinds: Mapping[str, Kind]) -> None:
    needed = [name for name in kinds if name not in ('iscrowd', 'area')]
    problem = find_problem(entry, kinds, needed)
    if problem is not None:
        name = _name(entry) if DICT.fits(entry) else shorten(entry)
        raise _error(path, f'{key} {name}, {problem}')


def _check_unique(path: str, key: str, values: List[Any]) -> None:
    value, count = Counter(values).most_common(1)[0] if values else (None, 0)
    if count > 1:
        raise _error(path, f'{key}: expected them all different, found {value!r} {count} times')


def _name(entry: Mapping[str, Any]) -> str:
    return repr(entry.get('id', entry.get('image_id')))


def _error(path: str, problem: str) -> DatasetError:
    return DatasetError(f'annotation file {path!r}: {problem}')
