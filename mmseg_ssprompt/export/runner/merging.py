"""What run.py does besides running the graphs: sizes, tiles, segments, files. It needs numpy."""

import itertools
import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def resized_size(size, rule):
    """The (height, width) to which a picture is resized by the rule in model.json."""
    height, width = size
    kind = rule['kind']
    if kind == 'within':  # as large as it can be in `scale`, which has the width first
        long, short = max(rule['scale']), min(rule['scale'])
        factor = min(long / max(size), short / min(size))
        return int(height * factor + 0.5), int(width * factor + 0.5)
    if kind == 'shortest':  # the order of operations decides about a pixel
        factor = rule['min_size'] / min(size)
        sides = [float(rule['min_size']) if side == min(size) else factor * side for side in size]
        longest = max(sides)
        if longest > rule['max_size']:
            sides = [side * (rule['max_size'] / longest) for side in sides]
        return int(sides[0] + 0.5), int(sides[1] + 0.5)
    if kind == 'exact':
        return rule['scale'][1], rule['scale'][0]
    return height, width


def predict(look, picture, model):
    """What is found in a picture.

    Args:
        look: Takes a picture, or a part of it, to what the decoder gives, by name.
        picture: Of Pillow, RGB.
        model: What model.json says.

    Returns:
        The label map (H, W), the map of segments (H, W) or None, and a dict for each segment.
    """
    rule, sizes = model['tiles'], picture.size[::-1]
    is_large = rule and sizes[0] * sizes[1] > rule['min_pixels']
    if not is_large or not any(n > rule['large'] * side for n, side in zip(sizes, rule['size'])):
        return gather(look(picture), model)
    label_map = np.zeros(sizes, np.uint8 if model['bits'] == 8 else np.uint16)
    rows, columns = (lay_along(*each) for each in zip(sizes, rule['size'], rule['overlap']))
    for top, bottom, first, last in rows:
        for left, right, start, end in columns:
            labels = gather(look(picture.crop((left, top, right, bottom))), model)[0]
            kept = labels[first - top : last - top, start - left : end - left]
            label_map[first:last, start:end] = kept
    return label_map, None, []


def lay_along(length, tile, overlap):
    """Tiles along a side: where each begins and ends, and from where to where its labels count."""
    last = max(length - tile, 0)
    starts = [*range(0, last, tile - overlap), last]
    middles = [(start + after + tile) // 2 for start, after in itertools.pairwise(starts)]
    borders = [0, *middles, length]
    return [
        (start, min(start + tile, length), first, end)
        for start, (first, end) in zip(starts, itertools.pairwise(borders))
    ]


def gather(found, model):
    """As :func:`predict`, of what the decoder gives for a picture."""
    kind = np.uint8 if model['bits'] == 8 else np.uint16
    if 'winner' not in found and 'masks' not in found:
        return found['label_map'].astype(kind), None, []
    if 'winner' in found:
        segment_map, infos = merge_panoptic(found, model)
        masks = [segment_map == info['id'] for info in infos]
    else:
        masks, infos = merge_instances(found, model)
        segment_map = np.zeros(found['masks'].shape[1:], np.int32)
    size = segment_map.shape
    label_map = np.full(size, model['void_id'], kind)
    # The best on top, and of equal ones the last.
    for number in sorted(range(len(infos)), key=lambda each: infos[each]['score']):
        info, mask = infos[number], masks[number]
        info['name'] = model['classes'][model['first_class'] + info['category_id']]
        if 'winner' not in found and info['score'] >= model['min_score']:
            segment_map[mask] = info['id']
        if info['score'] >= model['min_score']:
            label_map[mask] = model['first_class'] + info['category_id']
    if 'label_map' in found:
        label_map = found['label_map'].astype(kind)
    return label_map, segment_map.astype(np.uint16), infos


def merge_panoptic(found, model):
    """Segments that do not overlap: a map of their ids (H, W) int32, and a dict for each."""
    winner, inside = found['winner'], found['inside']
    count = len(found['kept'])
    won = np.bincount(winner.ravel(), minlength=count).tolist()
    final = np.bincount(winner[inside], minlength=count).tolist()
    ids, infos, stuff = np.zeros(count, np.int32), [], {}
    for prompt in np.flatnonzero(found['kept']).tolist():
        area = int(found['areas'][prompt])
        if not (won[prompt] and area and final[prompt]):
            continue
        if won[prompt] / area < model['overlap_threshold']:
            continue
        label, score = int(found['labels'][prompt]), float(found['scores'][prompt])
        info = stuff.get(label)
        if info is None:
            is_thing = label in model['things']
            info = dict(id=len(infos) + 1, category_id=label, isthing=is_thing, area=0, score=score)
            infos.append(info)
            if not is_thing:
                stuff[label] = info
        info['area'] += final[prompt]
        info['score'] = max(info['score'], score)
        ids[prompt] = info['id']
    return np.where(inside, ids[winner], 0), infos


def merge_instances(found, model):
    """Objects by descending score: their masks (H, W) bool, and a dict for each."""
    labels, prompts = found['pair_labels'], found['pair_prompts']
    is_thing = np.isin(labels, model['things'])
    labels, prompts = labels[is_thing], prompts[is_thing]
    scores = found['pair_scores'][is_thing] * found['confidences'][prompts]
    masks, infos = [], []
    for pair in np.argsort(-scores, kind='stable').tolist():
        mask = found['masks'][prompts[pair]]
        area = int(mask.sum())
        if not area:
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        info = dict(
            id=len(infos) + 1,
            category_id=int(labels[pair]),
            isthing=True,
            area=area,
            score=float(scores[pair]),
            bbox=[int(side) for side in box],
        )
        infos.append(info)
        masks.append(mask)
    return masks, infos


def name_results(pictures, folder):
    """Make the folder of results, and refuse those that would meet.

    Returns:
        Pairs of a picture and the path of its results, without what they end with.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f'--out: expected a folder, or a new one, found {folder} ({error.strerror})')
    inputs = {os.path.realpath(picture) for picture in pictures}
    names, targets = {}, []
    for picture in pictures:
        target = folder / Path(picture).stem
        label_map = os.path.realpath(f'{target}.png')
        if label_map in inputs:
            sys.exit(f'--out: the label map of {picture} would lie over {label_map}, which is read')
        if names.setdefault(label_map, picture) != picture:
            sys.exit(f'{names[label_map]} and {picture} would share {label_map}: run them apart')
        targets.append((picture, target))
    return targets


def write(found, target):
    """Write TARGET.png; with segments also TARGET_segments.png, of their ids, and .json."""
    label_map, segment_map, infos = found
    for pixels, end in ((label_map, ''), (segment_map, '_segments')):
        if pixels is not None:
            Image.fromarray(pixels).save(f'{target}{end}.png.tmp', 'PNG')
            os.replace(f'{target}{end}.png.tmp', f'{target}{end}.png')
    if segment_map is not None:
        text = json.dumps(infos, indent=1)
        Path(f'{target}_segments.json').write_text(text, encoding='utf-8')
