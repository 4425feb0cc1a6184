"""Panoptic maps in COCO's format: PNG files of ids and a JSON file, read, written and evaluated.

A pixel's id is R + 256 G + 65536 B, and 0 is void. The JSON file has ``annotations``, with
``image_id``, ``file_name`` and ``segments_info`` of each image, and ``categories``.
"""

import json
import logging
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Union

import numpy as np
from mmengine.logging import print_log
from PIL import Image, UnidentifiedImageError

from .panoptic_quality import (
    ImageComparison,
    PanopticError,
    average_classes,
    compare_panoptic,
    measure_class,
    sum_classes,
)

__all__ = ['evaluate_panoptic', 'read_id_map', 'write_id_map']

_BYTES = np.array([1, 256, 256**2])


def read_id_map(file: Union[str, Path]) -> np.ndarray:
    """Read the id of each pixel, (H, W) int64.

    Raises:
        PanopticError: If the file is no image of three bytes for each pixel.
    """
    try:
        with Image.open(file) as image:
            mode, colours = image.mode, np.asarray(image)
    except FileNotFoundError as error:
        raise PanopticError(
            f'{str(file)!r}: expected a panoptic map, which a JSON file names, found no such file'
        ) from error
    except (UnidentifiedImageError, OSError) as error:
        raise PanopticError(
            f'{str(file)!r}: expected a panoptic map as PNG, found a file that cannot be read '
            f'({error})'
        ) from error
    if mode not in ('RGB', 'RGBA'):
        raise PanopticError(
            f'{str(file)!r}: expected the colours (R, G, B) of ids R + 256 G + 65536 B, found an '
            f'image of mode {mode!r}. Label maps and palettes are no panoptic maps'
        )
    return np.asarray(colours[..., :3].astype(np.int64) @ _BYTES)


def write_id_map(ids: np.ndarray, file: Path) -> None:
    """Write ids (H, W), from 0 to 256^3 - 1, as PNG; its folder exists."""
    colours = ids[..., None].astype(np.int64) // _BYTES % 256
    Image.fromarray(colours.astype(np.uint8)).save(file)


def evaluate_panoptic(
    gt_json: Union[str, Path],
    gt_folder: Union[str, Path],
    pred_json: Union[str, Path],
    pred_folder: Union[str, Path],
) -> Dict[str, Any]:
    """Compare two folders of panoptic maps in COCO's format.

    The figures are those of panopticapi's ``pq_compute`` on one process, in every digit. Pairs of
    images are made by ``image_id``; predictions for other images are passed over.

    Args:
        gt_json: The true segments of each image, and ``categories`` with ``id`` and ``isthing``.
        gt_folder: The true maps, which ``file_name`` names.
        pred_json: The predicted segments; of each, ``id`` and ``category_id`` are read.
        pred_folder: The predicted maps.

    Returns:
        ``All``, ``Things`` and ``Stuff``: ``pq``, ``sq`` and ``rq`` as fractions, and ``n``, the
        number of classes that are averaged. Where ``n`` is 0 the others are NaN, and a warning is
        logged. ``per_class``: ``pq``, ``sq`` and ``rq`` of each category by id, which are 0 where
        none of its segments counts. ``counts``: ``iou``, ``tp``, ``fp`` and ``fn`` of each other
        category.

    Raises:
        PanopticError: If an image has no prediction, if a file cannot be read, or if a predicted
            map and its list of segments contradict each other.
    """
    truth, found = _read_json(gt_json, 'categories'), _read_json(pred_json)
    categories = {category['id']: category for category in truth['categories']}
    sums = sum_classes(_compare(truth, gt_folder, found, pred_folder, list(categories)))
    things = [key for key, category in categories.items() if category['isthing'] == 1]
    stuff = [key for key in categories if key not in things]
    results: Dict[str, Any] = {}
    for group, members in (('All', list(categories)), ('Things', things), ('Stuff', stuff)):
        results[group] = average_classes(sums, members)
        if results[group]['n'] == 0:
            text = f'{group}: none of {len(members)} classes has a segment, true or predicted'
            print_log(f'{text}: there is nothing to average', 'current', logging.WARNING)
    seen = {key: counts for key, counts in sums.items() if key in categories}
    results['counts'] = {key: counts._asdict() for key, counts in seen.items()}
    results['per_class'] = {
        key: measure_class(sums[key]) if key in sums else dict(pq=0.0, sq=0.0, rq=0.0)
        for key in categories
    }
    return results


def _compare(
    truth: Mapping[str, Any],
    gt_folder: Union[str, Path],
    found: Mapping[str, Any],
    pred_folder: Union[str, Path],
    categories: List[int],
) -> Iterator[ImageComparison]:
    """Compare the images in the order of the true ones."""
    predictions = {each['image_id']: each for each in found['annotations']}
    true_ids = [each['image_id'] for each in truth['annotations']]
    missing = [image_id for image_id in true_ids if image_id not in predictions]
    if missing:
        raise PanopticError(
            f'expected a prediction for each of {len(truth["annotations"])} annotated images, '
            f'found none for {len(missing)} of them, such as image_id {missing[0]!r}. Predict all '
            'images; one in which nothing is found has a map of zeros and empty segments_info'
        )
    for true in truth['annotations']:
        predicted = predictions[true['image_id']]
        file = Path(pred_folder) / predicted['file_name']
        yield compare_panoptic(
            read_id_map(Path(gt_folder) / true['file_name']),
            true['segments_info'],
            read_id_map(file),
            predicted['segments_info'],
            categories,
            f'image_id {true["image_id"]!r}, {str(file)!r}',
        )


def _read_json(file: Union[str, Path], *needs: str) -> Dict[str, Any]:
    """The content of a JSON file, which has ``annotations`` and what else is needed."""
    try:
        content = json.loads(Path(file).read_bytes())
    except (OSError, ValueError) as error:
        raise PanopticError(
            f'{str(file)!r}: expected a JSON file of panoptic annotations, found: {error}'
        ) from error
    for key in ('annotations', *needs):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise PanopticError(
                f'{str(file)!r}: expected a list {key!r}, as panoptic annotations in the format of '
                'COCO have it, found none'
            )
    return dict(content)
