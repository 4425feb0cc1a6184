"""ShapesWorld as an mmseg data set: its files are drawn when they are read."""

from typing import Any, Dict, List, Optional, Sequence

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..datasets.segment_maps import VOID
from ..datasets.segments_dataset import is_instance_task
from ..segments import NO_CLASS
from .shapes_backend import shapes_path
from .shapes_tables import COLOURS
from .shapes_world import get_world

__all__ = [
    'ShapesCoastDataset',
    'ShapesCoastInstanceDataset',
    'ShapesWorldDataset',
    'ShapesWorldInstanceDataset',
    'world_metainfo',
]

#: Scenes of each split where the configuration does not say.
DEFAULT_NUM_IMAGES = dict(train=128, val=100, test=200)


def world_metainfo(world: str, things_only: bool = False) -> Dict[str, Any]:
    """``classes``, ``palette``, ``thing_classes`` and ``stuff_classes`` of a world.

    Args:
        world: A key of ``WORLDS``.
        things_only: Whether stuff is left out. Defaults to False.

    Raises:
        ValueError: If ``world`` is not a key of ``WORLDS``.
    """
    described = get_world(world)
    things, stuff = described.thing_classes, () if things_only else described.stuff_classes
    return dict(
        classes=things + stuff,
        palette=[list(COLOURS[name]) for name in things + stuff],
        thing_classes=things,
        stuff_classes=stuff,
    )


@DATASETS.register_module()
class ShapesWorldDataset(BaseSegDataset):
    """Scenes of one ShapesWorld; nothing lies on disk.

    Paths are those of :class:`ShapesBackend`, so the ordinary ``LoadImageFromFile`` and
    ``LoadAnnotations`` read them, and ``LoadSegments`` reads things and stuff. Class ids are things
    first, then stuff; ``metainfo`` also has ``thing_classes`` and ``stuff_classes``.

    Args:
        world: A key of ``WORLDS``. Defaults to 'downstream'.
        split: 'train', 'val' or 'test'; splits share no scene. Defaults to 'train'.
        num_images: Scenes of the split. Defaults to None: 128, 100 or 200.
        seed: Which training set is drawn; the other splits are always the same. Defaults to 0.
        **kwargs: As for ``BaseSegDataset``.

    Raises:
        ValueError: If the world or the split is unknown, or ``num_images`` is not positive.
    """

    METAINFO = world_metainfo('downstream')
    #: Whether stuff is no class, but what things are told from.
    things_only = False

    def __init__(
        self,
        world: str = 'downstream',
        split: str = 'train',
        num_images: Optional[int] = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if split not in DEFAULT_NUM_IMAGES:
            raise ValueError(f'unknown split {split!r}: expected {sorted(DEFAULT_NUM_IMAGES)}')
        if num_images is None:
            num_images = DEFAULT_NUM_IMAGES[split]
        if num_images < 1:
            raise ValueError(f'num_images must be at least 1, got {num_images}')
        self.world, self.split, self.num_images, self.seed = world, split, num_images, seed
        given = kwargs.pop('metainfo', None) or {}
        metainfo = dict(world_metainfo(world, self.things_only), **given)
        kwargs = dict(dict(reduce_zero_label=False, ignore_index=255), **kwargs)
        for group in ('thing_classes', 'stuff_classes'):
            metainfo[group] = tuple(n for n in metainfo[group] if n in metainfo['classes'])
        super().__init__(metainfo=metainfo, **kwargs)

    def get_label_map(
        self, new_classes: Optional[Sequence[str]] = None
    ) -> Optional[Dict[int, int]]:
        """Old class ids to new where ``metainfo`` selects classes; 255 where one is left out.

        Raises:
            ValueError: If a selected class is not one of the world's.
        """
        known = get_world(self.world).classes
        if new_classes is None or tuple(new_classes) == known:
            return None
        unknown = sorted(set(new_classes) - set(known))
        if unknown:
            raise ValueError(f'world {self.world!r} has no {unknown}: expected some of {known}')
        new_ids = {name: index for index, name in enumerate(new_classes)}
        return {index: new_ids.get(name, 255) for index, name in enumerate(known)}

    def load_data_list(self) -> List[Dict[str, Any]]:
        """A record for each scene."""
        metainfo = self._metainfo
        indices = {name: index for index, name in enumerate(metainfo['classes'])}
        left_out = NO_CLASS if is_instance_task(metainfo) else VOID
        segments = dict(
            kind='instance_ids',
            categories={
                label: indices.get(name, left_out)
                for label, name in enumerate(get_world(self.world).classes, 1)
            },
            # Absent where the classes were given other names.
            things=[indices[name] for name in metainfo.get('thing_classes', ())],
        )

        def path(kind: str, index: int) -> str:
            return shapes_path(self.world, kind, self.split, self.seed, index)

        return [
            dict(
                img_path=path('image', index),
                img_id=f'{self.split}_{self.seed}_{index:06d}',
                seg_map_path=path('label', index),
                segments=dict(segments, path=path('segments', index)),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for index in range(self.num_images)
        ]


@DATASETS.register_module()
class ShapesCoastDataset(ShapesWorldDataset):
    """Scenes of the second downstream world: small and thin things at a coast.

    Args:
        world: Defaults to 'coast'.
        **kwargs: As for :class:`ShapesWorldDataset`.
    """

    METAINFO = world_metainfo('coast')

    def __init__(self, world: str = 'coast', **kwargs: Any) -> None:
        super().__init__(world=world, **kwargs)


@DATASETS.register_module()
class ShapesWorldInstanceDataset(ShapesWorldDataset):
    """The things of :class:`ShapesWorldDataset`; all else counts as no object.

    Args:
        world: Defaults to 'downstream'.
        **kwargs: As for :class:`ShapesWorldDataset`.
    """

    METAINFO = world_metainfo('downstream', things_only=True)
    things_only = True


@DATASETS.register_module()
class ShapesCoastInstanceDataset(ShapesCoastDataset):
    """The things of :class:`ShapesCoastDataset`; all else counts as no object.

    Args:
        **kwargs: As for :class:`ShapesCoastDataset`.
    """

    METAINFO = world_metainfo('coast', things_only=True)
    things_only = True
