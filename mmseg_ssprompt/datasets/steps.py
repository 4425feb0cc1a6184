"""The steps of a data set's pipeline: which they are, what they load, and which one has failed."""

import traceback
from typing import Any, Iterator, List, NamedTuple, Optional

from mmcv.transforms import KeyMapper, LoadAnnotations, LoadImageFromFile

__all__ = ['Step', 'each_step', 'find_failed_step', 'is_foreign', 'loaded_kind']

#: Whose transforms are known to load only if they derive from mmcv's loaders.
_STACK = ('mmcv', 'mmseg', 'mmengine', 'mmseg_ssprompt')


class Step(NamedTuple):
    """A transform that is no list of others.

    Attributes:
        place: Where the config has it: ``'pipeline[1].transforms[0]'``.
        transform: What is called.
    """

    place: str
    transform: Any

    @property
    def name(self) -> str:
        """The type of the transform."""
        return getattr(self.transform, '__name__', type(self.transform).__name__)

    def __str__(self) -> str:
        return f'{self.name} ({self.place})'


def each_step(pipeline: Any, place: str = 'pipeline') -> Iterator[Step]:
    """The steps of a pipeline in their order, also those inside of other transforms.

    Args:
        pipeline: A list of transforms, or a transform such as ``Compose``, ``RandomChoice`` or
            ``TestTimeAug``; of the latter's branches only the first is read.
        place: Where the config has the pipeline. Defaults to 'pipeline'.
    """
    inner = _list_inner(pipeline)
    if inner is None:
        yield Step(place, pipeline)
        return
    is_plain = isinstance(pipeline, (list, tuple)) or type(pipeline).__name__ == 'Compose'
    for index, each in enumerate(inner):
        yield from each_step(each, f'{place}{"" if is_plain else ".transforms"}[{index}]')


def _list_inner(node: Any) -> Optional[List[Any]]:
    """What is inside of a list or of a transform; None of a transform without others inside."""
    if isinstance(node, (list, tuple)):
        return list(node)
    if isinstance(node, KeyMapper):  # which hands on other names
        return None
    inner = getattr(node, 'transforms', None)
    if getattr(node, 'subroutines', None):  # TestTimeAug has a branch for each combination
        inner = node.subroutines[0]
    inner = getattr(inner, 'transforms', inner)  # RandomApply has a Compose
    is_list = isinstance(inner, list) and all(map(callable, inner))  # Albu keeps dicts there
    return inner if is_list else None


def find_failed_step(pipeline: Any, error: BaseException) -> Optional[Step]:
    """The step of a pipeline in which an error arose; None if it arose elsewhere."""
    steps = list(each_step(pipeline))
    objects = {id(step.transform): step for step in steps}
    functions = {getattr(step.transform, '__code__', None): step for step in steps}
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        step = objects.get(id(frame.f_locals.get('self'))) or functions.get(frame.f_code)
        found = step or found
    return found


def is_foreign(transform: Any) -> bool:
    """Whether a transform is somebody's own, which may load whatever it likes."""
    return type(transform).__module__.split('.')[0] not in _STACK


def loaded_kind(transform: Any) -> Optional[str]:
    """What a loader loads, ``'image'``, ``'label map'`` or ``'segment map'``; None of others."""
    if isinstance(transform, LoadImageFromFile):
        return 'image'
    if isinstance(transform, LoadAnnotations):
        return 'label map'
    loads: Optional[str] = getattr(transform, 'loads', None)  # of LoadSegments
    return loads
