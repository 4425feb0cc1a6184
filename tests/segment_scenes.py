"""Made-up images with true and predicted segments, and their files in the formats of data sets."""

import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import numpy as np
import torch
from mmengine.structures import InstanceData, PixelData
from mmseg.registry import METRICS
from mmseg.structures import SegDataSample
from PIL import Image

from mmseg_ssprompt.segments import make_gt_segments

THINGS = ('person', 'car', 'bicycle')
STUFF = ('road', 'sky')
CLASSES = (*THINGS, *STUFF)
#: As in a file of annotations: neither from 0 on, nor without gaps.
CATEGORY_IDS = (24, 90, 33, 7, 200)
META = dict(
    classes=CLASSES,
    palette=[[220, 20, 60], [0, 0, 142], [119, 11, 32], [128, 64, 128], [70, 130, 180]],
    thing_classes=THINGS,
    stuff_classes=STUFF,
    category_ids=CATEGORY_IDS,
)


class Scene(NamedTuple):
    """An image's true segments, and a prediction of them."""

    name: str
    numbers: np.ndarray  # (H, W), indices into segments, or -1
    segments: List[Dict[str, Any]]
    found: np.ndarray  # (H, W), ids of found_segments, or 0
    found_segments: List[Dict[str, Any]]

    def sample(self, **metainfo: Any) -> SegDataSample:
        """As the model returns it, with all kinds of predictions."""
        image = f'images/{self.name}.png'
        shape = self.numbers.shape
        sample = SegDataSample(
            metainfo=dict(img_path=image, img_id=self.name, ori_shape=shape, **metainfo)
        )
        sample.gt_segments = make_gt_segments(self.numbers, self.segments)
        sample.pred_panoptic_seg = PixelData(
            metainfo=dict(segments_info=self.found_segments),
            data=torch.from_numpy(self.found)[None].int(),
        )
        objects = [each for each in self.found_segments if each['isthing']]
        masks = np.zeros((len(objects), *self.found.shape), bool)
        for mask, each in zip(masks, objects):
            mask[:] = self.found == each['id']
        boxes = [_box(mask) for mask in masks]
        sample.pred_instances = InstanceData(
            labels=torch.tensor([each['category_id'] for each in objects], dtype=torch.long),
            scores=torch.tensor([each['score'] for each in objects], dtype=torch.float32),
            masks=torch.from_numpy(masks),
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        )
        return sample


def _box(mask: np.ndarray) -> List[float]:
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return [0.0] * 4
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def make_scene(seed: int, height: int = 40, width: int = 56) -> Scene:
    """Stuff, objects that hide one another, a crowd, void; the prediction errs in all ways."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros((height, width), np.int64)
    numbers[: height // 2] = 1
    segments = [dict(id=seed * 100 + 1 + n, category_id=3 + n, iscrowd=0) for n in range(2)]
    found, found_segments = numbers + 1, []
    for n in range(2):
        found_segments.append(dict(id=n + 1, category_id=3 + n, isthing=False, score=0.9))
    for _ in range(rng.integers(2, 7)):
        (y, x), (h, w) = rng.integers(0, (height - 9, width - 9)), rng.integers(5, 16, 2)
        numbers[y : y + h, x : x + w] = len(segments)
        category = int(rng.integers(0, 3))
        is_crowd = int(rng.random() < 0.15)
        segments.append(
            dict(id=seed * 100 + 1 + len(segments), category_id=category, iscrowd=is_crowd)
        )
        if rng.random() < 0.85:  # moved a little, and now and then of another class
            y, x = np.maximum(0, (y, x) + rng.integers(-1, 2, 2))
            found[y : y + h, x : x + w] = len(found_segments) + 1
            guess = category if rng.random() < 0.8 else int(rng.integers(0, 3))
            found_segments.append(
                dict(
                    id=len(found_segments) + 1,
                    category_id=guess,
                    isthing=True,
                    score=float(np.float32(rng.random())),
                )
            )
    numbers[:, : rng.integers(1, 6)] = -1
    found[-rng.integers(1, 4) :] = 0
    for each in found_segments:
        each['area'] = int((found == each['id']).sum())
    kept = [each for each in found_segments if each['area']]
    there = [number for number in range(len(segments)) if (numbers == number).any()]
    table = np.full(len(segments) + 1, -1)
    table[there] = range(len(there))
    numbers = table[numbers]
    true_segments = [segments[number] for number in there]
    for number, each in enumerate(true_segments):
        each['area'] = int((numbers == number).sum())
    return Scene(f'scene{seed}', numbers, true_segments, found, kept)


def _categories() -> List[Dict[str, Any]]:
    return [
        dict(id=each, name=name, isthing=int(name in THINGS))
        for each, name in zip(CATEGORY_IDS, CLASSES)
    ]


def write_panoptic_truth(scenes: List[Scene], folder: Path) -> None:
    """``truth.json`` and ``truth/``, in COCO's panoptic format."""
    (folder / 'truth').mkdir(parents=True)
    annotations = []
    for scene in scenes:
        ids = np.array([*(each['id'] for each in scene.segments), 0])[scene.numbers]
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=-1)
        Image.fromarray(colours.astype(np.uint8)).save(folder / 'truth' / f'{scene.name}.png')
        entries = [
            dict(each, category_id=CATEGORY_IDS[each['category_id']]) for each in scene.segments
        ]
        annotations.append(
            dict(image_id=scene.name, file_name=f'{scene.name}.png', segments_info=entries)
        )
    content = dict(
        images=[dict(id=scene.name, file_name=f'{scene.name}.jpg') for scene in scenes],
        annotations=annotations,
        categories=_categories(),
    )
    (folder / 'truth.json').write_text(json.dumps(content))


def run_metric(config: Dict[str, Any], scenes: List[Scene], meta: Dict[str, Any] = META) -> Any:
    """What a metric returns for scenes, batch by batch."""
    metric = METRICS.build(dict(config))
    metric.dataset_meta = meta
    for scene in scenes:
        metric.process({}, [scene.sample().to_dict()])
    return metric.evaluate(len(scenes))


def _run_in_process(rank: int, root: Path, config: Dict[str, Any], scenes: List[Scene]) -> None:
    torch.set_num_threads(1)  # those of the test process are not in a fork of it
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{root}/rendezvous', rank=rank, world_size=2
    )
    metric = METRICS.build(dict(config))
    metric.dataset_meta = META
    # As mmengine's DefaultSampler: every second sample, and the first ones fill the last batch up.
    padded = scenes + scenes[: len(scenes) % 2]
    for scene in padded[rank::2]:
        metric.process({}, [scene.sample().to_dict()])
    (root / f'rank{rank}.json').write_text(json.dumps(metric.evaluate(len(scenes))))
    torch.distributed.destroy_process_group()


def run_in_two_processes(config: Dict[str, Any], scenes: List[Scene], root: Path) -> List[Any]:
    """What a metric returns in each of two processes that share the scenes."""
    torch.multiprocessing.start_processes(
        _run_in_process, (root, config, scenes), nprocs=2, start_method='fork'
    )
    return [json.loads((root / f'rank{rank}.json').read_text()) for rank in range(2)]
