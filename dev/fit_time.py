r"""Measure what ``fit`` takes, and what the naive way would take: the encoder in each step.

    python -m dev.fit_time --images PHOTOS --labels LABELS --classes "sky,road" --base sam-vit-b \
        --weights sam.pth --clip-weights clip.pt --out work_dirs/fit_time --json fit_time.json

Everything after ``--steps`` and ``--json`` is given to ``mmseg-ssprompt fit``. Its folder must be
new. The naive way is the best arm's config with photographs and image encoder in place of embedded
photographs: a few of its steps and predictions are measured, and multiplied by how many the fit
has made.
"""

import argparse
import inspect
import json
import time
from pathlib import Path
from typing import Any, Dict, List

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS

from mmseg_ssprompt.analysis.complexity.measuring import describe_machine
from mmseg_ssprompt.cli.parser import build_parser, output_file
from mmseg_ssprompt.files import write_json
from mmseg_ssprompt.fitting.fit import fit


def main() -> None:
    parser = argparse.ArgumentParser(description='Time of fit, and of the naive way')
    parser.add_argument('--steps', type=int, default=3, help='of the naive way that are measured')
    parser.add_argument('--json', type=output_file('.json'), required=True)
    own, others = parser.parse_known_args()
    args = build_parser().parse_args(['fit', *others])
    if Path(args.out).exists():
        parser.error(f'--out {args.out!r}: expected a new folder')
    start = time.perf_counter()
    result = fit(**{name: getattr(args, name) for name in inspect.signature(fit).parameters})
    seconds = time.perf_counter() - start
    naive = measure_naive(result.config, own.steps)
    counts = count_steps(result.out)
    total = naive['step'] * counts['training_images'] + naive['prediction'] * counts['predictions']
    found: Dict[str, Any] = dict(
        machine=describe_machine('cpu'),
        base=args.base,
        pictures=counts['pictures'],
        fit_seconds=seconds,
        stages=result.results['seconds'],
        steps_of_arms=counts['steps_of_arms'],
        naive_step_seconds=naive['step'],
        naive_prediction_seconds=naive['prediction'],
        naive_seconds=total,
        table=result.table,
    )
    write_json(found, own.json)
    print(json.dumps(found, indent=2))


def measure_naive(config: Path, steps: int) -> Dict[str, float]:
    """Seconds of a training step and of a prediction of one photograph, with the encoder."""
    cfg = Config.fromfile(config)
    embedded = cfg.train_dataloader.dataset
    model_cfg = dict(
        cfg.model, backbone=embedded.encoder, data_preprocessor=embedded.data_preprocessor
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(model_cfg)
        # Labels before the resize, as in training.
        load, resize, labels, pack = embedded.dataset.pipeline
        dataset = DATASETS.build(dict(embedded.dataset, pipeline=[load, labels, resize, pack]))
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad])
    times: Dict[str, List[float]] = dict(step=[], prediction=[])
    for number in range(steps):
        start = time.perf_counter()
        batch = model.data_preprocessor(pseudo_collate([dataset[number % len(dataset)]]), True)
        loss, _ = model.parse_losses(model.loss(**batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times['step'].append(time.perf_counter() - start)
        start = time.perf_counter()
        with torch.no_grad():
            model.eval()
            model.test_step(pseudo_collate([dataset[number % len(dataset)]]))
            model.train()
        times['prediction'].append(time.perf_counter() - start)
    return {name: sum(values) / len(values) for name, values in times.items()}


def count_steps(out: Path) -> Dict[str, Any]:
    """How many pictures were trained on and predicted, one at a time, by all runs of a fit."""
    data = json.loads((out / 'data.json').read_text())
    lists = {file.stem: len(file.read_text().splitlines()) for file in out.glob('data/*.txt')}
    images = predictions = 0
    steps: Dict[str, int] = {}
    for file in out.glob('runs/*/*/result.json'):
        run = json.loads(file.read_text())
        cfg = Config.fromfile(file.with_name('config.py'))
        own = len(run['losses']) * cfg.train_dataloader.batch_size
        steps[file.parents[1].name] = steps.get(file.parents[1].name, 0) + own
        images += own
        loader = cfg.val_dataloader
        if loader is not None:
            predictions += len(run['validations']) * lists[Path(loader.dataset.names).stem]
    predictions += lists.get('test', 0) * (1 + len(steps))
    return dict(
        pictures=len(data['pictures']),
        training_images=images,
        predictions=predictions,
        steps_of_arms=steps,
    )


if __name__ == '__main__':
    main()
