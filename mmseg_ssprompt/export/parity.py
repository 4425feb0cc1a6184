"""Whether an exported model gives what PyTorch gives."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..miniature.shapes_world import get_world, render_scene, scene_seed
from ..prediction.prediction import find_objects, paint_objects
from ..prediction.predictor import Predictor
from .refusals import ExportError
from .tracing import Graph

__all__ = ['TOLERANCES', 'Comparison', 'Reference', 'compare_onnx', 'compare_torch', 'predict_here']

#: Of what decides in float32, and of pixels with the same label, by precision.
TOLERANCES = dict(float32=(1e-3, 0.999), float16=(None, 0.99))
#: (height, width) of the pictures that are compared.
_SIZES = ((120, 160), (200, 130))


class Comparison(NamedTuple):
    """What was found.

    Attributes:
        largest_difference: Between numbers of the graphs and of PyTorch.
        equal_pixels: The share of pixels with the same label.
    """

    largest_difference: float
    equal_pixels: float

    def check(self, precision: str) -> None:
        """Refuse what differs more than it may.

        Raises:
            ExportError: With both figures.
        """
        most, least = TOLERANCES[precision]
        is_near = most is None or self.largest_difference <= most
        if is_near and self.equal_pixels >= least:
            return
        expected = f'labels equal on {least:.1%} of the pixels'
        expected += '' if most is None else f' and numbers within {most:g}'
        advice = 'Give --precision float32' if precision == 'float16' else 'Please report it'
        raise ExportError(
            f'the exported model does not give what PyTorch gives: expected {expected}, found '
            f'{self.equal_pixels:.3%} and {self.largest_difference:.2g}. Nothing was written. '
            f'{advice}, with the config and the versions of torch, onnx and onnxruntime'
        )


class Reference(NamedTuple):
    """What PyTorch gives, for pictures drawn here.

    Attributes:
        pictures: (H, W, 3) uint8, red first.
        label_maps: As ``predict`` writes them.
        inputs: Of the encoder, for the first picture.
        features: What the encoder gives for it.
        results: What the decoder gives for it.
    """

    pictures: List[np.ndarray]
    label_maps: List[np.ndarray]
    inputs: List[Tensor]
    features: List[Tensor]
    results: List[Tensor]


def predict_here(predictor: Predictor, picture: np.ndarray) -> np.ndarray:
    """The label map of a picture (H, W, 3), red first, which is seen as a whole."""
    packed = predictor.prepare(np.ascontiguousarray(picture[..., ::-1]), 'picture')
    (sample,) = predictor([packed])
    if 'pred_sem_seg' in sample:
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        return np.asarray(labels.astype(predictor.label_ids.dtype))
    objects = find_objects(sample, predictor.things)
    return paint_objects(objects, picture.shape[:2], predictor.label_ids)


@torch.no_grad()
def make_reference(predictor: Predictor, graphs: Sequence[Graph]) -> Reference:
    """Let PyTorch predict, before weights are narrowed."""
    frame = predictor.model.backbone.frame
    is_plain = not any(hasattr(step, 'scale') for step in predictor.steps.transforms)
    pictures = []
    for number, size in enumerate(_SIZES):
        if is_plain and frame is not None:  # pictures come at their size
            size = frame
        image = render_scene(get_world('downstream'), scene_seed('test', number)).image
        pictures.append(cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC))
    label_maps = [predict_here(predictor, each) for each in pictures]
    first = predictor.prepare(np.ascontiguousarray(pictures[0][..., ::-1]), 'picture')['inputs']
    height, width = first.shape[1:]
    divisor = predictor.model.backbone.divisor
    sides = frame or tuple(-(-side // divisor) * divisor for side in (height, width))
    pixels = torch.zeros(1, *sides, 3, dtype=torch.uint8)
    pixels[0, :height, :width] = first.flip(0).permute(1, 2, 0)
    inner = torch.tensor([height, width])
    features = graphs[0].module(pixels, inner)
    output_size = torch.tensor(pictures[0].shape[:2])
    results = graphs[1].module(*features, inner, output_size)
    inputs = [pixels, inner, output_size]
    return Reference(pictures, label_maps, inputs, list(features), list(results))


def compare_onnx(reference: Reference, folder: Path) -> Comparison:
    """Run an exported folder by its own run.py, and its graphs by onnxruntime.

    Args:
        reference: Of PyTorch.
        folder: Complete.

    Raises:
        ExportError: If run.py fails.
    """
    import onnxruntime

    encoder, decoder = (
        onnxruntime.InferenceSession(
            str(folder / f'{name}.onnx'), providers=['CPUExecutionProvider']
        )
        for name in ('encoder', 'decoder')
    )
    pixels, size, output_size = (each.numpy() for each in reference.inputs)
    features = encoder.run(None, dict(pixels=pixels, size=size))
    values = [*features, size, output_size]
    feeds = {each.name: value for each, value in zip(decoder.get_inputs(), values)}
    pairs = [*zip(features, reference.features), *zip(decoder.run(None, feeds), reference.results)]
    del encoder, decoder
    label_maps = _run(folder, reference.pictures)
    return Comparison(_largest(pairs), _share(label_maps, reference.label_maps))


def _run(folder: Path, pictures: Sequence[np.ndarray]) -> List[np.ndarray]:
    """The label maps that run.py writes."""
    work = folder / 'compared'
    work.mkdir()
    files = [work / f'{number}.png' for number in range(len(pictures))]
    for file, picture in zip(files, pictures):
        Image.fromarray(picture).save(file)
    out = work / 'out'
    command = [sys.executable, str(folder / 'run.py'), *map(str, files), '--out', str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExportError(
            f'the exported model does not run: {done.stderr.strip()[-600:]}. Nothing was written'
        )
    found = [np.array(Image.open(out / file.name)) for file in files]
    for file in sorted(work.rglob('*'), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    work.rmdir()
    return found


@torch.no_grad()
def compare_torch(reference: Reference, folder: Path) -> Comparison:
    """Load exported programs again, and run them."""
    encoder, decoder = (
        torch.export.load(folder / f'{name}.pt2').module() for name in ('encoder', 'decoder')
    )
    pixels, size, output_size = reference.inputs
    features = encoder(pixels, size)
    results = decoder(*features, size, output_size)
    pairs: List[Any] = [*zip(features, reference.features), *zip(results, reference.results)]
    pairs = [(new.numpy(), old) for new, old in pairs]
    first = next(zip(results, reference.results))
    return Comparison(_largest(pairs), float((first[0] == first[1]).float().mean()))


def _largest(pairs: Sequence[Any]) -> float:
    """The largest difference of numbers; others are compared as label maps."""
    differences = [
        float(np.abs(new - old.numpy()).max()) for new, old in pairs if old.is_floating_point()
    ]
    return max(differences, default=0.0)


def _share(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    equal = sum(int((a == b).sum()) for a, b in zip(found, expected) if a.shape == b.shape)
    return equal / sum(each.size for each in expected)


def describe(found: Comparison) -> Dict[str, float]:
    """For model.json."""
    return dict(
        largest_difference=found.largest_difference, equal_pixels=round(found.equal_pixels, 6)
    )
