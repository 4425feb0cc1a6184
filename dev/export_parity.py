"""Export models and compare them with PyTorch: sizes, seconds, differences.

    python -m dev.export_parity --json docs/evidence/export.json
    python -m dev.export_parity --json docs/evidence/export.json --case 'SAM ViT-B'

The miniature's models have prompts that were moved at random, so that they predict several classes;
those of real size have random weights, too. What is compared is arithmetic, and not what is found.
A file that is there keeps its other cases.
"""

import argparse
import functools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

import cv2
import numpy as np
import onnxruntime
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from mmseg_ssprompt.analysis.complexity.measuring import describe_machine
from mmseg_ssprompt.export import export
from mmseg_ssprompt.export.parity import predict_here
from mmseg_ssprompt.export.runner import merging
from mmseg_ssprompt.files import write_json
from mmseg_ssprompt.miniature.shapes_world import get_world, render_scene, scene_seed
from mmseg_ssprompt.prediction.predictor import Predictor, read_model
from mmseg_ssprompt.prompt_files.prompt_file import write_prompts

from .provenance import ROOT, describe_commit, describe_versions

SIZES = ((480, 640), (640, 480), (300, 700), (96, 96))  # height and width of pictures
PRECISIONS = ('float32', 'float16')


class Case(NamedTuple):
    """A model.

    Attributes:
        config: Its name.
        weights: In the place of ``model.weights``; None: those of the config.
        pictures: How many are compared.
        outputs: What it predicts.
    """

    config: str
    weights: Any
    pictures: int
    outputs: str = 'semantic'


CASES = {
    'sam-tiny, semantic': Case('sam-tiny_shapes', None, 20),
    'sam-tiny, panoptic': Case('sam-tiny_shapes_panoptic', None, 20, 'panoptic'),
    'seem-tiny, semantic': Case('seem-tiny_shapes', None, 20),
    'seem-tiny, panoptic': Case('seem-tiny_shapes_panoptic', None, 20, 'panoptic'),
    'SAM ViT-B, semantic': Case('sam_cityscapes', dict(_delete_=True), 2),
    'SEEM Focal-T, panoptic': Case(
        'seem_focal-t_cityscapes_panoptic', dict(_delete_=True), 2, 'panoptic'
    ),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Export models and compare them with PyTorch')
    parser.add_argument('--json', type=Path, required=True, help='file for the figures')
    parser.add_argument('--case', help='those whose names contain this; all by default')
    return parser.parse_args()


def write_model(folder: Path, case: Case) -> List[Path]:
    """Write a config and prompts that predict several classes."""
    cfg = Config.fromfile(ROOT / 'configs' / f'ssprompt_{case.config}.py')
    if case.weights is not None:
        cfg.merge_from_dict({'model.weights': case.weights})
    pipeline = cfg.test_dataloader.dataset.pipeline
    if not any('Resize' in step['type'] for step in pipeline):
        resize = dict(type='Resize', scale=(96, 96), keep_ratio=True, backend='pillow')
        pipeline.insert(1, resize)
    cfg.model.test_cfg.object_mask_threshold = 0.2
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    generator = torch.Generator().manual_seed(1)
    state = model.without_frozen(model.state_dict())
    for name, value in state.items():
        if value.is_floating_point() and 'learned' in name:
            state[name] = value + 0.5 * torch.randn(value.shape, generator=generator)
    files = [folder / 'config.py', folder / 'prompts.safetensors']
    cfg.dump(str(files[0]))
    write_prompts(state, {}, files[1])
    return files


def draw_pictures(count: int) -> List[np.ndarray]:
    """Scenes of several sizes, (H, W, 3) uint8, red first."""
    pictures = []
    for number in range(count):
        image = render_scene(get_world('downstream'), scene_seed('test', number)).image
        size = SIZES[number % len(SIZES)]
        pictures.append(cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC))
    return pictures


class Runner:
    """An exported folder in onnxruntime with one thread, as its run.py runs it."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.model = json.loads((folder / 'model.json').read_text())
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(
                str(folder / f'{name}.onnx'), options, providers=['CPUExecutionProvider']
            )
            for name in ('encoder', 'decoder')
        )

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """The label map."""
        whole = picture.shape[:2]
        rows, columns = size = merging.resized_size(whole, self.model['resize'])
        divisor = self.model['divisor']
        frame = self.model['frame'] or [-(-side // divisor) * divisor for side in size]
        canvas = np.zeros((1, *frame, 3), np.uint8)
        resized = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR)
        canvas[0, :rows, :columns] = resized
        sizes = np.array(size, np.int64), np.array(whole, np.int64)
        features = self.encoder.run(None, dict(pixels=canvas, size=sizes[0]))
        names = [each.name for each in self.decoder.get_outputs() if each.name != 'score']
        feeds = [each.name for each in self.decoder.get_inputs()]
        found = self.decoder.run(names, dict(zip(feeds, [*features, *sizes])))
        gathered = merging.gather({n: v[0] for n, v in zip(names, found)}, self.model)
        return np.asarray(gathered[0])


def measure(
    run: Callable[[np.ndarray], np.ndarray], pictures: Sequence[np.ndarray]
) -> Dict[str, Any]:
    """Label maps, and the median of the seconds of processor time that each has taken."""
    seconds, label_maps = [], []
    run(pictures[0])
    for picture in pictures:
        start = time.process_time()
        label_maps.append(run(picture))
        seconds.append(time.process_time() - start)
    return dict(seconds=statistics.median(seconds), label_maps=label_maps)


def run_case(case: Case) -> Dict[str, Any]:
    """Both precisions of a model."""
    pictures = draw_pictures(case.pictures)
    row: Dict[str, Any] = dict(pictures=case.pictures)
    with tempfile.TemporaryDirectory() as folder:
        config, prompts = write_model(Path(folder), case)
        torch.manual_seed(0)
        predictor = Predictor(read_model(config, prompts), 'cpu')
        here = measure(functools.partial(predict_here, predictor), pictures)
        row['pytorch_seconds'] = round(here['seconds'], 3)
        row['labels'] = len(np.unique(np.concatenate([m.ravel() for m in here['label_maps']])))
        for precision in PRECISIONS:
            out = Path(folder) / precision
            torch.manual_seed(0)
            start = time.process_time()
            done = export(config, out, prompts=prompts, precision=precision)
            seconds = time.process_time() - start
            assert done.comparison is not None
            runner = Runner(out)
            there = measure(runner, pictures)
            del runner
            pairs = list(zip(here['label_maps'], there['label_maps']))
            equal = sum(int((a == b).sum()) for a, b in pairs)
            row[precision] = dict(
                encoder_megabytes=round(_size(done.files, 'encoder') / 1e6, 2),
                decoder_megabytes=round(_size(done.files, 'decoder') / 1e6, 2),
                export_seconds=round(seconds, 1),
                onnxruntime_seconds=round(there['seconds'], 3),
                largest_difference=done.comparison.largest_difference,
                equal_pixels=equal / sum(a.size for a, _ in pairs),
            )
    return row


def _size(files: Dict[str, int], name: str) -> int:
    return sum(size for file, size in files.items() if file.startswith(name))


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    found: Dict[str, Any] = dict(cases={})
    if args.json.is_file():
        found = json.loads(args.json.read_text())
    for name, case in CASES.items():
        if args.case is None or args.case in name:
            found['cases'][name] = run_case(case)
            print(name, json.dumps(found['cases'][name]), flush=True)
            found.update(
                commit=describe_commit(),
                machine=describe_machine('cpu'),
                threads=1,
                versions=describe_versions(),
                onnxruntime=onnxruntime.__version__,
            )
            write_json(found, args.json)


if __name__ == '__main__':
    main()
