"""What takes the place of the image encoder when samples are embedded already."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from torch import Tensor, nn

from .contracts import Fingerprints, Shape
from .features import ImageFeatures
from .frozen import FrozenModule

__all__ = [
    'ENCODER_KEY',
    'EmbeddingPreProcessor',
    'PrecomputedFeatures',
    'check_embedded_by',
    'get_encoder_class',
]

#: Where an embedded sample says, in its metainfo, what weights it was made with.
ENCODER_KEY = 'encoder_weights'


@MODELS.register_module()
class EmbeddingPreProcessor(BaseDataPreprocessor):
    """Stacks the features of a batch, in float32; they were normalised and padded as images.

    Label maps of training data are padded as their images were.

    Args:
        non_blocking: As for ``BaseDataPreprocessor``. Defaults to False.

    Attributes:
        seg_pad_val: The number of padding in label maps. ``PromptSegmentor`` sets it to the one
            that is ignored.
    """

    seg_pad_val = 255

    def forward(self, data: Dict[str, Any], training: bool = False) -> Dict[str, Any]:
        """Make a batch of what the data loader gives.

        Args:
            data: ``inputs``, a list of B tensors for each name of :meth:`ImageFeatures.named`, and
                ``data_samples``.
            training: The same is done in training and testing. Defaults to False.

        Returns:
            ``inputs``, a tensor (B, ...) float32 for each name, on the model's device, and
            ``data_samples``.
        """
        data = self.cast_data(data)
        inputs = {name: _stack(tensors) for name, tensors in data['inputs'].items()}
        samples = data.get('data_samples')
        for sample in samples or ():
            padding = sample.metainfo.get('padding_size')  # of training data only
            if padding is not None and any(padding) and 'gt_sem_seg' in sample:
                labels = F.pad(sample.gt_sem_seg.data, tuple(padding), value=self.seg_pad_val)
                sample.gt_sem_seg = PixelData(data=labels)
        return dict(inputs=inputs, data_samples=samples)


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.float() for tensor in tensors])


def get_encoder_class(config: Mapping[str, Any]) -> Any:
    """The class of an image encoder's config, which answers for its files and shapes.

    Raises:
        ValueError: If no such backbone is registered.
    """
    kind = config.get('type')
    cls = MODELS.get(kind) if isinstance(kind, str) else kind
    if cls is None or not hasattr(cls, 'feature_shapes'):
        raise ValueError(
            'encoder: expected the config of a frozen image encoder such as '
            f"dict(type='SAMImageEncoder', ...), found type={kind!r}"
        )
    return cls


@MODELS.register_module()
class PrecomputedFeatures(FrozenModule):
    """A backbone without weights that passes on what an image encoder has made before.

    It stands for that encoder, so checkpoints of prompts fit models with either.

    Args:
        encoder: Config of the image encoder. It is not built: its class is asked for the shapes of
            features and, if a file is named and there, for the fingerprint of the weights.

    Shape:
        - Input: a tensor (B, ...) for each name of :meth:`ImageFeatures.named`.
        - Output: :class:`ImageFeatures`.
    """

    #: Whether a model can do without the files, which are only compared with those of the samples.
    weights_are_optional = True

    def __init__(self, encoder: Dict[str, Any]) -> None:
        super().__init__()
        self.encoder = dict(encoder)
        cls = get_encoder_class(encoder)
        self.shapes: Dict[str, Shape] = cls.feature_shapes(encoder)
        self._files: Optional[Fingerprints] = None
        self.frame = cls.frame_of(encoder)
        self.freeze()

    def fingerprints(self) -> Fingerprints:
        """Those of the image encoder; None for each part whose file is not given, or not there."""
        if self._files is None:
            self._files = get_encoder_class(self.encoder).fingerprint_files(self.encoder)
        return self._files

    def forward(self, x: Mapping[str, Tensor]) -> ImageFeatures:
        """Pass features on.

        Raises:
            ValueError: If ``x`` is no output of this encoder.
        """
        found = {name: tuple(each.shape[1:]) for name, each in _as_mapping(x).items()}
        fits = set(found) == set(self.shapes)
        if not fits or not all(_is_shape(found[name], self.shapes[name]) for name in found):
            raise ValueError(
                f'expected features of {self.encoder["type"]} without the batch, '
                f'{_describe(self.shapes)}, found {_describe(found)}: this model has no image '
                'encoder and takes the samples of an EmbeddedDataset; images need the config '
                'without `_cached`'
            )
        return ImageFeatures.from_named(x)


def _as_mapping(x: Any) -> Mapping[str, Tensor]:
    return x if isinstance(x, Mapping) else {'an image': x}


def _is_shape(found: Sequence[int], expected: Shape) -> bool:
    if len(found) != len(expected):
        return False
    return all(size in (None, own) for own, size in zip(found, expected))


def _describe(shapes: Mapping[str, Sequence[Any]]) -> str:
    return ', '.join(
        f'{name} ({" x ".join("any" if size is None else str(size) for size in shape)})'
        for name, shape in shapes.items()
    )


def check_embedded_by(backbone: nn.Module, data_samples: Optional[Sequence[Any]]) -> None:
    """Refuse embedded samples that another image encoder has made than the model stands for.

    Samples say it themselves (:data:`ENCODER_KEY`), so this holds wherever they come from. Where
    either is not known, nothing is compared.

    Args:
        backbone: Of the model; with any other than :class:`PrecomputedFeatures` nothing is done.
        data_samples: Of a batch.

    Raises:
        ValueError: With the first sample, and both encoders.
    """
    if not isinstance(backbone, PrecomputedFeatures):
        return
    known: List[Any] = []
    for sample in data_samples or ():
        made_by = getattr(sample, 'metainfo', {}).get(ENCODER_KEY)
        if not isinstance(made_by, Mapping) or made_by in known:
            continue
        known.append(made_by)
        for part, own in backbone.fingerprints().items():
            other = made_by.get(part)
            if own is not None and other is not None and own != other:
                raise ValueError(
                    f'image {str(sample.metainfo.get("img_path"))!r}: expected a sample embedded '
                    f'with the {part} of model.weights, SHA-256 {own[:12]}..., found one of '
                    f'SHA-256 {other[:12]}.... Delete the folder of the cache, or name another '
                    'cache_dir, then run `mmseg-ssprompt cache CONFIG`; or set model.weights to '
                    'the file that the cache was made with'
                )
