"""The steps of a data set's pipeline: which they are, what each does, and which one has failed."""

import copy
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmcv.transforms import KeyMapper
from torch.utils.data import Dataset

from ..draws import seed_draws

__all__ = ['SIZES_KEY', 'Sizes', 'Step', 'Trace', 'each_step', 'find_failed_step', 'follow']

Size = Tuple[int, int]
#: Where a sample keeps what was seen of it; each branch of a pipeline copies its samples.
SIZES_KEY = 'mmseg_ssprompt_sizes'
# How often a transform is tried, because it may draw whether it does anything.
_TRIES = 8


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
    if _is_step(pipeline):
        yield Step(place, pipeline)
        return
    first: Dict[str, Any] = {}
    for name, holder, key in _children(pipeline):
        first.setdefault(name, holder[key])
    for name, inner in first.items():
        yield from each_step(inner, f'{place}{name}')


def _list_of(transform: Any) -> Optional[List[Any]]:
    """The transforms inside of another; None if it has no list of them."""
    if isinstance(transform, KeyMapper):  # which hands on other names
        return None
    inner = getattr(transform, 'subroutines', None) or getattr(transform, 'transforms', None)
    inner = getattr(inner, 'transforms', inner)  # RandomApply has a Compose
    is_list = isinstance(inner, list) and all(map(callable, inner))  # Albu keeps dicts there
    return inner if is_list else None


def _is_step(node: Any) -> bool:
    return not isinstance(node, (list, tuple)) and _list_of(node) is None


def _children(node: Any) -> List[Tuple[str, Any, int]]:
    """Place, list and index of what is inside of a list or a transform."""
    if isinstance(node, (list, tuple)):
        return [(f'[{index}]', node, index) for index in range(len(node))]
    name = '' if type(node).__name__ == 'Compose' else '.transforms'
    # TestTimeAug has all lists of one transform from each list.
    branches = getattr(node, 'subroutines', None)
    lists = [branch.transforms for branch in branches] if branches else [_list_of(node) or []]
    return [(f'{name}[{i}]', inner, i) for inner in lists for i in range(len(inner))]


def find_failed_step(pipeline: Any, error: BaseException) -> Optional[Step]:
    """The step of a pipeline in which an error arose; None if it arose elsewhere."""
    steps = {id(step.transform): step for step in each_step(pipeline)}
    codes = {
        step.transform.__code__: step
        for step in steps.values()
        if hasattr(step.transform, '__code__')  # a function
    }
    found, frame = None, error.__traceback__
    while frame is not None:
        scope = frame.tb_frame
        found = steps.get(id(scope.f_locals.get('self')), codes.get(scope.f_code, found)) or found
        frame = frame.tb_next
    return found and Step(found.place, getattr(found.transform, 'followed', found.transform))


class Sizes(NamedTuple):
    """What was seen of image and label map of a sample on their way through a pipeline.

    Attributes:
        image: Height and width of the image.
        labels: Height and width of the label map.
        original: Height and width of the image when it was loaded.
        loaded_by: The step that has loaded the label map.
        moved_by: The steps that have moved the image's pixels without the label map, before it
            was there; in validation those that have moved the label map.
        parted_by: The step since which the sizes differ, and what it has done.
        flipped: Whether it was packed as a mirror image.
    """

    image: Optional[Size] = None
    labels: Optional[Size] = None
    original: Optional[Size] = None
    loaded_by: Optional[str] = None
    moved_by: Tuple[str, ...] = ()
    parted_by: Optional[str] = None
    flipped: bool = False


class Trace:
    """What the steps of a data set do to one sample.

    Args:
        training: Whether a label map must lie on the image that leaves the pipeline; in
            validation it must lie on the one that was loaded.

    Attributes:
        loads: The steps that load something, by place: ``'image'`` or ``'label map'``; and None
            of those before them that leave the image as it is.
        packed: For each sample that was packed, what was seen before.
        ended_by: The last step that returned nothing.
        mistake: What a step does to the image and not to its label map, in words.
    """

    def __init__(self, training: bool) -> None:
        self.training = training
        self.begin()

    def begin(self) -> None:
        """Forget the sample before."""
        self.loads: Dict[str, Optional[str]] = {}
        self.packed: List[Sizes] = []
        self.ended_by: Optional[Step] = None
        self.mistake: Optional[str] = None

    def run(self, step: Step, sample: Any) -> Any:
        """Let a step do its work, and note what it has done."""
        if not isinstance(sample, dict):
            return step.transform(sample)
        seen, image = sample.get(SIZES_KEY, Sizes()), sample.get('img')
        if self.training and seen.labels is not None and _parts_pixels(step.transform, sample):
            self.mistake = self.mistake or _describe_parting(step, seen, sample)
        # In training what comes before the label map may not move pixels, in validation what
        # comes after it.
        may_not_move = (seen.labels is None) == self.training and seen.image is not None
        moves = may_not_move and _moves_pixels(step.transform, sample)
        result = step.transform(sample)
        if result is None:
            self.ended_by = step
        elif isinstance(result, dict) and 'data_samples' in result:
            self.packed.append(seen._replace(flipped=bool(sample.get('flip'))))
        elif isinstance(result, dict):
            self._note_loads(step, seen, image, result)
            result[SIZES_KEY] = self._see_sizes(step, seen, result, moves)
        return result

    def _note_loads(self, step: Step, seen: Sizes, image: Any, result: Dict[str, Any]) -> None:
        if seen.labels is None and _size(result.get('gt_seg_map')) is not None:
            self.loads[step.place] = 'label map'
        elif seen.image is None and _size(result.get('img')) is not None:
            self.loads[step.place] = 'image'
        elif result.get('img') is image:
            self.loads.setdefault(step.place, None)

    def _see_sizes(self, step: Step, seen: Sizes, result: Dict[str, Any], moves: bool) -> Sizes:
        image, labels = _size(result.get('img')), _size(result.get('gt_seg_map'))
        now = seen._replace(image=image, labels=labels, original=seen.original or image)
        if seen.labels is None and labels is not None:
            now = now._replace(loaded_by=str(step))
        elif moves:
            now = now._replace(moved_by=(*seen.moved_by, str(step)))
        expected = now.image if self.training else now.original
        if None in (labels, expected) or labels == expected:
            return now._replace(parted_by=None)
        return now if seen.parted_by else now._replace(parted_by=_describe(step, seen, now))


def _describe(step: Step, seen: Sizes, now: Sizes) -> str:
    sizes = (('image', seen.image, now.image), ('label map', seen.labels, now.labels))
    changes = [
        f'the {name} from {_text(old)} to {_text(new)}'
        for name, old, new in sizes
        if old is not None and new is not None and old != new
    ]
    return f'{step} changes {" and ".join(changes)}' if changes else str(step)


def _text(size: Size) -> str:
    return f'{size[0]} x {size[1]}'


def _size(picture: Any) -> Optional[Size]:
    shape: Sequence[int] = getattr(picture, 'shape', ())
    return (int(shape[0]), int(shape[1])) if len(shape) >= 2 else None


def _moves_pixels(transform: Any, sample: Mapping[str, Any]) -> bool:
    """Whether a transform, in one of some tries, moves the pixels of a label map."""
    present = sample['img'] if sample.get('gt_seg_map') is None else sample['gt_seg_map']
    grid = _draw_grid(present.shape[0], present.shape[1])
    tried = _try_out(transform, dict(sample, gt_seg_map=grid, seg_fields=['gt_seg_map']))
    return any(not np.array_equal(labels, grid) for _, labels in tried)


def _parts_pixels(transform: Any, sample: Mapping[str, Any]) -> bool:
    """Whether a transform, in one of some tries, moves the pixels of the image alone.

    It gets an image and a label map of the same numbers. Where the image has the same numbers
    afterwards in other places, the label map has to have them in these places too. A transform
    that computes new numbers, such as interpolation or other colours, shows nothing in this way.
    """
    grid = _draw_grid(32, 48)
    given = dict(sample, img=np.repeat(grid[..., None], 3, axis=2), gt_seg_map=grid)
    given.update(img_shape=grid.shape, ori_shape=grid.shape, pad_shape=grid.shape)
    return any(
        np.array_equal(np.sort(image[..., 0], axis=None), np.sort(grid, axis=None))
        and not np.array_equal(image[..., 0], labels)
        for image, labels in _try_out(transform, given)
        if image.shape[:2] == labels.shape
    )


def _draw_grid(height: int, width: int) -> np.ndarray:
    """Numbers (H, W) uint8: neighbours, and rows and columns turned round, have others."""
    y, x = np.arange(height)[:, None], np.arange(width)
    return ((7 * y + 13 * x + (y // 16) * (x // 16)) % 251).astype(np.uint8)


def _try_out(transform: Any, sample: Mapping[str, Any]) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Image and label map that a transform makes of a sample, in some tries."""
    sample = {key: value for key, value in sample.items() if key != SIZES_KEY}
    for number in range(_TRIES):
        seed_draws(number)
        try:
            result = transform(copy.deepcopy(sample))
            image, labels = np.asarray(result['img']), np.asarray(result['gt_seg_map'])
        except Exception:  # the run that counts reports it
            return
        yield image, labels


def _describe_parting(step: Step, seen: Sizes, sample: Mapping[str, Any]) -> str:
    remedy = "Let it do the same with results['gt_seg_map']"
    if 'gt_seg_map' not in sample.get('seg_fields', ()):
        remedy = (
            f"Transforms move what results['seg_fields'] names: let {seen.loaded_by}, which has "
            "loaded the label map, append 'gt_seg_map' to it"
        )
    return (
        f'{step} moves the pixels of the image {str(sample.get("img_path"))!r} and not those of '
        f'its label map {str(sample.get("seg_map_path"))!r}. {remedy}'
    )


class _FollowedStep:
    """A step that notes what it does."""

    def __init__(self, step: Step, trace: Trace) -> None:
        self.followed, self._step, self._trace = step.transform, step, trace

    def __call__(self, sample: Any) -> Any:
        return self._trace.run(self._step, sample)

    def __getattr__(self, name: str) -> Any:  # such as get_indices of those that mix images
        if name.startswith('__') or name == 'followed':
            raise AttributeError(name)
        return getattr(self.followed, name)


def follow(dataset: Any, trace: Trace) -> Any:
    """A copy of a data set whose steps tell a trace what they do; the data set stays as it is.

    Args:
        dataset: A data set, or a wrapper.
        trace: Is told.
    """
    twin = copy.copy(dataset)
    if isinstance(getattr(dataset, 'datasets', None), list):
        twin.datasets = [follow(inner, trace) for inner in dataset.datasets]
    if isinstance(getattr(dataset, 'dataset', None), Dataset):
        twin.dataset = follow(dataset.dataset, trace)
    pipeline = vars(dataset).get('pipeline')
    if pipeline is not None:
        try:  # transforms keep what they have seen
            pipeline = copy.deepcopy(pipeline)
        except Exception:  # locks, open files and the like
            pipeline = copy.copy(pipeline)
        twin.pipeline = _follow_steps(pipeline, 'pipeline', trace)
    return twin


def _follow_steps(node: Any, place: str, trace: Trace) -> Any:
    if _is_step(node):
        return node if isinstance(node, _FollowedStep) else _FollowedStep(Step(place, node), trace)
    for name, holder, key in _children(node):
        holder[key] = _follow_steps(holder[key], f'{place}{name}', trace)
    return node
