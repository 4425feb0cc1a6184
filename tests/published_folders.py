"""Folders as ``fit`` and ``publish`` leave them, of prompts that were not trained."""

import json
from pathlib import Path
from typing import Any, Dict, Sequence

import numpy as np
from PIL import Image

from mmseg_ssprompt.evaluation.confusion import count_confusion, mean_iou
from mmseg_ssprompt.files import write_json
from mmseg_ssprompt.fitting.fit_data import FitData, FoundPicture
from mmseg_ssprompt.publishing import publish
from own_photographs import draw_photograph, save
from predicted_pictures import write_model

#: Names that must be in no published file.
SECRETS = ('private_photo', 'secret_folder')
SPLITS = ('train', 'train', 'train', 'val', 'test', 'test', 'test')


def make_fit_folder(
    root: Path, names: Sequence[str] = ('sky', 'tree', 'road', 'car'), has_model: bool = True
) -> Path:
    """What ``fit`` leaves, with photographs, label maps and predictions, as of a training."""
    root = root / SECRETS[1]
    out = root / 'out'
    if has_model:
        options: Dict[str, Any] = {
            f'{split}_dataloader.dataset.metainfo': dict(classes=tuple(names))
            for split in ('train', 'val', 'test')
        }
        options['model.decode_head.semantic_prompts.class_names'] = tuple(names)
        write_model(out, **options)
    pictures = []
    rng = np.random.default_rng(0)
    for number, split in enumerate(SPLITS):
        name = f'{SECRETS[0]}_{number}.png'
        image, labels = draw_photograph(number)
        save(image, root / 'photos' / name)
        save(labels, root / 'labels' / name)
        size = dict(height=labels.shape[0], width=labels.shape[1])
        pixels = {names[k]: int((labels == k).sum()) for k in range(2)}
        pictures.append(
            FoundPicture(
                name, split=split, fold=None, pixels=pixels, objects=None, ignored=0, **size
            )
        )
        if split == 'test':
            for kind, share in (('zero-shot', 0.5), ('best', 0.1)):
                wrong = rng.random(labels.shape) < share
                found = np.where(wrong, rng.integers(0, 2, labels.shape), labels).astype(np.uint8)
                save(found, out / 'predictions' / kind / name)
    palette = [[10 * number, 20, 30] for number in range(len(names))]
    data = FitData(
        *(out, 'semantic', list(names), palette, None, None),
        images=str(root / 'photos'),
        labels=str(root / 'labels'),
        coco=None,
        seg_map_suffix=None,
        label_map=None,
        rest_id=None,
        pictures=pictures,
        notes=[f'{SECRETS[0]}_0.png is dark'],
        arguments=dict(shots=2, images=str(root / 'photos')),
    )
    data.write()
    write_json(_make_results(data), out / 'results.json')
    return out


def _make_results(data: FitData) -> Dict[str, Any]:
    means = {}
    for kind in ('zero-shot', 'best'):
        total = 0
        for picture in data.pictures:
            if picture.split == 'test':
                file = data.out / 'predictions' / kind / picture.name
                maps = [_read(Path(data.labels) / picture.name), _read(file)]
                total = total + count_confusion(*maps, data.label_ids)
        means[kind] = float(mean_iou(total))
    arms = [
        dict(
            name=name,
            title=title,
            validation=dict(mIoU=means['best'] - 1 - number),
            test=dict(mIoU=means['best'] - 2 * number),
            trainable_parameters=1234 + number,
            learning_rate=0.01,
            rates={},
            best_iteration=30,
            iterations=60,
            train_seconds=1.5,
            curve=dict(loss=[], validation=[]),
        )
        for number, (name, title) in enumerate(
            [('ssprompt', 'SSPrompt'), ('projection', 'Projection alone')]
        )
    ]
    return dict(
        base='sam-tiny',
        task='semantic',
        metric='mIoU',
        method='auto',
        seed=0,
        cross_validated=False,
        zero_shot=dict(validation=dict(mIoU=20.0), test=dict(mIoU=means['zero-shot'])),
        arms=arms,
        best='ssprompt',
        pictures_shown='test',
        notes=[],
        seconds={},
    )


def _read(file: Path) -> np.ndarray:
    return np.array(Image.open(file))


def publish_model(root: Path, **options: Any) -> Path:
    """A config with untrained prompts in ``root/model``, published into ``root/published``."""
    config = write_model(root / 'model')
    prompts = config.parent / 'prompts.safetensors'
    return publish(config, root / 'published', prompts=prompts, **options).out


def edit_config(folder: Path, change: Any) -> Path:
    """Change what ``config.json`` holds, in place: ``change(content)``."""
    file = folder / 'config.json'
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return file
