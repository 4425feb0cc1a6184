"""The base models that ``fit`` can take, what trains on each, and the weights that each needs."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from mmengine.config import Config

from ..config_files import find_home
from ..weights.model_weights import missing_weights

__all__ = [
    'ARMS',
    'BASES',
    'Base',
    'check_weights',
    'choose_arms',
    'explain_missing_arms',
    'find_base',
    'model_weights',
]

#: What trains, by what ``--method`` is given.
ARMS = {
    'ssprompt': 'SSPrompt',
    'ssprompt-projection': 'SSPrompt and projection',
    'projection': 'Projection alone',
}


class Base(NamedTuple):
    """A base model.

    Attributes:
        name: As people say it.
        config: Of the model, beneath ``configs/_base_/models``, without ``.py``.
        variant: Of the base model, where it is not that of the config.
        kind: 'sam' or 'seem'.
        resize: What brings photographs to the size of the frame, in pipelines.
        frame: (H, W) of the frame; None where it depends on the photograph.
        weights: Names of the files, by the entries of ``model.weights``; empty where they come with
            the package.
        is_small: Whether a training step takes some hundredths of a second.
        has_projection: Whether a pre-trained projection to the text space comes with it.
    """

    name: str
    config: str
    variant: Optional[str]
    kind: str
    resize: Dict[str, Any]
    frame: Optional[int]
    weights: Dict[str, str]
    is_small: bool = False
    has_projection: bool = False

    @property
    def config_file(self) -> Path:
        """The config of the model."""
        return find_home() / 'configs' / '_base_' / 'models' / f'{self.config}.py'

    @property
    def arms(self) -> List[str]:
        """What can be trained, in the order of the number of parameters."""
        if self.kind == 'seem':
            return ['ssprompt']
        arms = ['ssprompt-projection', 'projection']
        return ['ssprompt', *arms] if self.has_projection else arms


def _sam(name: str, variant: Optional[str], file: str) -> Base:
    resize = dict(type='Resize', scale=(1024, 1024), keep_ratio=True, backend='pillow')
    files = dict(sam=file, clip='ViT-B-16.pt')
    return Base(name, 'ssprompt_sam_vit-b', variant, 'sam', resize, 1024, files)


def _seem(name: str, variant: Optional[str], file: str, frame: Optional[int] = None) -> Base:
    size = (
        dict(min_size=800, max_size=1333) if frame is None else dict(min_size=1000, max_size=1024)
    )
    config = 'ssprompt_seem' if frame is None else 'ssprompt_seem_sam-vit'
    resize = dict(type='SEEMResize', **size)
    return Base(name, config, variant, 'seem', resize, frame, dict(seem=file))


#: All of them, by what ``--base`` is given.
BASES: Dict[str, Base] = {
    'sam-vit-b': _sam('SAM ViT-B', None, 'sam_vit_b_01ec64.pth'),
    'sam-vit-l': _sam('SAM ViT-L', 'vit_l', 'sam_vit_l_0b3195.pth'),
    'sam-vit-h': _sam('SAM ViT-H', 'vit_h', 'sam_vit_h_4b8939.pth'),
    'seem-focal-t': _seem('SEEM Focal-T', None, 'seem_focalt_v1.pt'),
    'seem-focal-l': _seem('SEEM Focal-L', 'focal_l', 'seem_focall_v1.pt'),
    'seem-sam-vit-b': _seem('SEEM SAM-ViT-B', None, 'seem_samvitb_v1.pt', 1024),
    'seem-sam-vit-l': _seem('SEEM SAM-ViT-L', 'sam_vit_l', 'seem_samvitl_v1.pt', 1024),
    'sam-tiny': Base(
        'sam-tiny',
        'ssprompt_sam-tiny',
        None,
        'sam',
        dict(type='Resize', scale=(96, 96), keep_ratio=True, backend='pillow'),
        96,
        {},
        is_small=True,
        has_projection=True,
    ),
    'seem-tiny': Base(
        'seem-tiny',
        'ssprompt_seem-tiny',
        None,
        'seem',
        dict(type='SEEMResize', min_size=128, max_size=128),
        None,
        {},
        is_small=True,
    ),
}


def find_base(name: str) -> Base:
    """A base model by name.

    Raises:
        ValueError: If no base model has this name, with the names of all.
    """
    if name not in BASES:
        raise ValueError(
            f'--base: expected one of {", ".join(BASES)}, found {name!r}. sam-tiny and seem-tiny '
            'come with the package and are for trying the commands out'
        )
    return BASES[name]


def choose_arms(base: Base, method: str) -> List[str]:
    """What is trained.

    Raises:
        ValueError: If there is no such method, or the base model has not got it.
    """
    if method == 'auto':
        return base.arms
    if method not in ARMS:
        raise ValueError(f'--method: expected auto or one of {", ".join(ARMS)}, found {method!r}')
    if method not in base.arms:
        raise ValueError(
            f'--method: expected auto or one of {", ".join(base.arms)} for {base.name}, found '
            f'{method!r}. {explain_missing_arms(base)}'
        )
    return [method]


def explain_missing_arms(base: Base) -> str:
    """Why a base model has not got all arms."""
    if base.kind == 'seem':
        return (
            f'{base.name} has scores of classes of its own, so it has no projection that could be '
            'trained.'
        )
    return (
        f'No projection from masks to texts comes with {base.name}: it trains in each arm, and '
        'without training the classes are chance.'
    )


def model_weights(
    base: Base, weights: Optional[str] = None, clip_weights: Optional[str] = None
) -> Dict[str, str]:
    """``model.weights``, with absolute paths; empty where the config's own are meant.

    Args:
        base: The base model.
        weights: Its file. Defaults to None: ``weights/NAME`` below the current folder.
        clip_weights: That of CLIP, for bases of SAM. Defaults to None: as ``weights``.

    Raises:
        ValueError: If a file is given that the base model has no use for.
    """
    given = dict(sam=weights, seem=weights, clip=clip_weights)
    for argument, value, entries in (
        ('--weights', weights, ('sam', 'seem')),
        ('--clip-weights', clip_weights, ('clip',)),
    ):
        if value is not None and not any(entry in base.weights for entry in entries):
            own = 'come with the package' if not base.weights else 'have texts of their own'
            raise ValueError(
                f'{argument}: expected no file for {base.name}, whose weights {own}, found '
                f'{value!r}. Leave {argument} out'
            )
    paths = {entry: given[entry] or Path('weights', name) for entry, name in base.weights.items()}
    return {entry: str(Path(path).expanduser().absolute()) for entry, path in paths.items()}


def check_weights(base: Base, weights: Mapping[str, str]) -> None:
    """Say at once which files are missing, and where they are published.

    Args:
        base: The base model.
        weights: What :func:`model_weights` returns.

    Raises:
        FileNotFoundError: If a file is not there.
    """
    model = Config.fromfile(base.config_file).model
    if base.variant is not None:
        part = dict(variant=base.variant)
        model.backbone.update(part)
        model.decode_head.segmenter.update(part)
    if weights:
        model.weights = dict(weights)
    missing = missing_weights(model)
    if missing:
        listed = '\n  '.join(missing)
        raise FileNotFoundError(
            f'{base.name} needs files that are not there: {len(missing)}\n  {listed}\nGive them '
            f'with --weights FILE{" and --clip-weights FILE" if "clip" in weights else ""}, or try '
            'the commands out with --base sam-tiny, which needs no file'
        )
