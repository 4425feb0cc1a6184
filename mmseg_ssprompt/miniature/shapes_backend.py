"""Scenes of ShapesWorld as files that are drawn when they are read."""

import re
from functools import lru_cache

import cv2
import numpy as np
from mmengine.fileio import BaseStorageBackend, register_backend

from .shapes_world import Scene, get_world, render_scene, scene_seed

__all__ = ['ShapesBackend', 'shapes_path']

SCHEME = 'shapes'
_KINDS = ('image', 'label', 'segments')
_PATH = re.compile(
    rf'{SCHEME}://(?P<world>\w+)/(?P<kind>image|label|segments)/(?P<split>[a-z]+)_(?P<seed>\d+)_(?P<index>\d+)\.png'
)


def shapes_path(world: str, kind: str, split: str, seed: int, index: int) -> str:
    """The path of a scene's picture, label map or segments.

    Args:
        world: A key of ``WORLDS``.
        kind: 'image', 'label' or 'segments'.
        split: 'train', 'val' or 'test'.
        seed: Which training set.
        index: Number of the scene within the split.

    Raises:
        ValueError: If ``kind`` is not one of the three.
    """
    if kind not in _KINDS:
        raise ValueError(f'kind must be one of {_KINDS}, got {kind!r}')
    return f'{SCHEME}://{world}/{kind}/{split}_{seed}_{index:06d}.png'


@register_backend('mmseg_ssprompt_shapes', prefixes=SCHEME)
class ShapesBackend(BaseStorageBackend):
    """Reads ``shapes://`` paths, so that every tool of mmseg takes scenes for ordinary PNG files.

    Nothing lies on disk and nothing is fetched: a path names a world, a split and a scene, which
    is drawn and encoded without loss.
    """

    def get(self, filepath: str) -> bytes:
        """The PNG file of a scene.

        Its picture (RGB), its label map (one byte a pixel), or its segments as Cityscapes has them,
        in two bytes a pixel: with the label k + 1 of class k, ``1000 (k + 1) + n`` in the n-th
        thing, and ``k + 1`` in stuff.

        Raises:
            FileNotFoundError: If ``filepath`` is not of the form that :func:`shapes_path` gives.
            ValueError: If world or split is unknown.
        """
        match = _PATH.fullmatch(str(filepath))
        if match is None:
            raise FileNotFoundError(
                f'no scene is called {str(filepath)!r}: expected '
                f'{SCHEME}://WORLD/{"|".join(_KINDS)}/SPLIT_SEED_INDEX.png'
            )
        seed = scene_seed(match['split'], int(match['index']), int(match['seed']))
        scene, kind = _draw(match['world'], seed), match['kind']
        content = scene.image[..., ::-1] if kind == 'image' else scene.labels
        if kind == 'segments':
            content = _number_segments(scene, len(get_world(match['world']).things))
        return cv2.imencode('.png', content)[1].tobytes()

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """Scenes are no texts.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f'{filepath!r} is a picture, not a text')


def _number_segments(scene: Scene, num_things: int) -> np.ndarray:
    labels = scene.labels.astype(np.uint16) + 1
    return np.where(scene.labels < num_things, 1000 * labels + scene.regions, labels)


@lru_cache(maxsize=1024)  # 46 kB a scene
def _draw(world: str, seed: int) -> Scene:
    """Scenes are read again in every epoch, but drawn once in each process."""
    return render_scene(get_world(world), seed)
