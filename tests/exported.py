"""Models for exports, pictures for them, and running an exported folder without torch."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from mmseg_ssprompt.miniature.shapes_world import get_world, render_scene, scene_seed
from predicted_pictures import write_prompts_of

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
ASSETS = CONFIGS.parent / 'mmseg_ssprompt' / 'assets'
CAMVID = Path(__file__).resolve().parents[1] / 'data' / 'camvid'
#: (height, width) of photographs; the last is portrait.
SIZES = ((96, 96), (120, 160), (75, 200), (300, 210))
#: Runs a file as if torch, mmengine, mmseg, OpenCV and this package were not installed.
WITHOUT = textwrap.dedent("""
    import runpy, sys
    class Blocker:
        names = {'torch', 'mmengine', 'mmcv', 'mmseg', 'mmseg_ssprompt', 'cv2', 'onnx', 'scipy'}
        def find_spec(self, name, path=None, target=None):
            if name.partition('.')[0] in self.names:
                raise ImportError(f'{name} is not there')
    sys.meta_path.insert(0, Blocker())
    sys.argv = sys.argv[1:]
    sys.path.insert(0, sys.argv[0].rpartition('/')[0])
    runpy.run_path(sys.argv[0], run_name='__main__')
""")


def write_model(folder: Path, name: str, **options: Any) -> Tuple[Path, Path]:
    """Write a config that inherits from one of ours, and untrained prompts that predict much.

    Args:
        folder: Is made.
        name: Of the config, such as ``'sam-tiny_shapes_panoptic'``.
        **options: Settings by their dotted names, with ``__`` for dots.

    Returns:
        The paths of the config and of the prompts.
    """
    folder.mkdir(parents=True)
    cfg = Config.fromfile(CONFIGS / f'ssprompt_{name}.py')
    pipeline = cfg.test_dataloader.dataset.pipeline
    if not any('Resize' in step['type'] for step in pipeline):  # of scenes that have their size
        resize = dict(type='Resize', scale=(96, 96), keep_ratio=True, backend='pillow')
        pipeline.insert(1, resize)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    if cfg.model.test_cfg.get('outputs', ('semantic',)) != ('semantic',):
        cfg.merge_from_dict({'model.test_cfg.object_mask_threshold': 0.3})
    write_prompts_of(cfg, folder / 'prompts.safetensors')
    cfg.dump(str(folder / 'config.py'))
    return folder / 'config.py', folder / 'prompts.safetensors'


def move_weights(kind: str, file: Path) -> Dict[str, Any]:
    """Write the weights of sam-tiny or seem-tiny, which come in half, as others that do not.

    Args:
        kind: ``'sam'`` or ``'seem'``.
        file: Where to.

    Returns:
        Settings of :func:`write_model`.
    """
    weights = torch.load(ASSETS / f'{kind}-tiny_shapes.pth', weights_only=True)
    generator = torch.Generator().manual_seed(0)
    for name, value in weights.items():
        noise = torch.randn(value.shape, generator=generator)
        weights[name] = value.float() * (1 + 1e-3 * noise)
    torch.save(weights, file)
    return {f'model__weights__{kind}': str(file)}


def draw_pictures(folder: Path, count: int) -> List[Path]:
    """Write scenes of several sizes, as PNG, and photographs of CamVid where they are there."""
    folder.mkdir(parents=True)
    files = []
    for number in range(count):
        scene = render_scene(get_world('downstream'), scene_seed('test', number))
        size = SIZES[number % len(SIZES)]
        picture = Image.fromarray(scene.image).resize(size[::-1], Image.Resampling.BICUBIC)
        files.append(folder / f'scene_{number}.png')
        picture.save(files[-1])
    photographs = sorted(CAMVID.rglob('*.png'))[: count // 2]
    for number, photograph in enumerate(photographs):
        with Image.open(photograph) as picture:
            if picture.mode != 'RGB':
                continue
            files[number] = folder / f'camvid_{number}.jpg'
            picture = picture if number % 3 else picture.rotate(90, expand=True)
            picture.save(files[number], quality=95)
    return files


def run_without_torch(exported: Path, files: Sequence[Path], out: Path) -> Any:
    """Run run.py in a process that cannot import torch and what comes with it."""
    command = [sys.executable, '-c', WITHOUT, exported / 'run.py', *files, '--out', out]
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    return subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, env=environment
    )


def read_labels(file: Path) -> np.ndarray:
    """A label map."""
    return np.array(Image.open(file))
