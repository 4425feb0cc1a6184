"""What takes the place of the image encoder when samples are embedded already."""

from typing import Any, Dict, Mapping, Optional, Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from torch import Tensor

from .contracts import Fingerprints, Shape
from .features import ImageFeatures
from .frozen import FrozenModule

__all__ = ['ENCODER_KEY', 'EmbeddingPreProcessor', 'PrecomputedFeatures', 'get_encoder_class']

#: Where an embedded sample says, in its metainfo, what weights it was made with.
ENCODER_KEY = 'encoder_weights'


@MODELS.register_module()
class EmbeddingPreProcessor(BaseDataPreprocessor):
    """Stacks the features of a batch, and pads label maps as their images were, in training."""

    #: The number of padding in label maps; ``PromptSegmentor`` sets it to the one that is ignored.
    seg_pad_val = 255

    def forward(self, data: Dict[str, Any], training: bool = False) -> Dict[str, Any]:
        """Make a batch of what the data loader gives, in training and testing alike.

        Args:
            data: ``inputs``, a list of B tensors for each name of :meth:`ImageFeatures.named`,
                which become one (B, ...) float32 on the model's device, and ``data_samples``.
            training: Not looked at.

        Raises:
            ValueError: If the features of the samples differ in size.
        """
        _check_sizes(data['inputs'], data.get('data_samples') or ())
        data = self.cast_data(data)
        inputs = {
            name: torch.stack([tensor.float() for tensor in tensors])
            for name, tensors in data['inputs'].items()
        }
        samples = data.get('data_samples')
        for sample in samples or ():
            padding = sample.metainfo.get('padding_size')  # of training data only
            if padding is not None and any(padding) and 'gt_sem_seg' in sample:
                labels = F.pad(sample.gt_sem_seg.data, tuple(padding), value=self.seg_pad_val)
                sample.gt_sem_seg = PixelData(data=labels)
        return dict(inputs=inputs, data_samples=samples)


def _check_sizes(inputs: Mapping[str, Sequence[Tensor]], data_samples: Sequence[Any]) -> None:
    """Refuse samples of several sizes in a batch.

    Images of a batch are padded to the largest, and encoded so; samples were embedded alone.
    """
    for name, tensors in inputs.items():
        shapes = [tuple(tensor.shape) for tensor in tensors]
        other = next((n for n, shape in enumerate(shapes) if shape != shapes[0]), None)
        if other is not None:
            files = [sample.metainfo.get('img_path') for sample in data_samples]
            which = f' ({files[0]!r} and {files[other]!r})' if files else ''
            raise ValueError(
                f'embedded samples: expected {name} of one size in a batch, found {shapes[0]} and '
                f'{shapes[other]}{which}. Each was embedded at the size of its image, and cannot '
                'be padded any more: set the batch_size of the data loader to 1 (and, for steps of '
                'several images, optim_wrapper.accumulative_counts), or resize all images to one '
                'size in the pipeline that is embedded'
            )


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
        """Pass features on, a tensor (B, ...) for each name of :meth:`ImageFeatures.named`.

        Raises:
            ValueError: If ``x`` has other names.
        """
        found = list(x) if isinstance(x, Mapping) else ['an image']
        if set(found) != set(self.shapes):
            raise ValueError(
                f'expected features of {self.encoder["type"]}, {list(self.shapes)}, found {found}: '
                'this model has no image encoder and takes the samples of an EmbeddedDataset; '
                'images need the config without `_cached`'
            )
        return ImageFeatures.from_named(x)

    def check_samples(self, data_samples: Optional[Sequence[Any]]) -> None:
        """Refuse embedded samples that another image encoder has made than this stands for.

        Samples say it themselves (:data:`ENCODER_KEY`). Where either is not known, nothing is
        compared.

        Raises:
            ValueError: With the first sample, and both encoders.
        """
        for sample in data_samples or ():
            made_by = getattr(sample, 'metainfo', {}).get(ENCODER_KEY) or {}
            for part, own in self.fingerprints().items():
                other = made_by.get(part)
                if own is not None and other is not None and own != other:
                    raise ValueError(
                        f'image {str(sample.metainfo.get("img_path"))!r}: expected a sample '
                        f'embedded with the {part} of model.weights, SHA-256 {own[:12]}..., found '
                        f'one of SHA-256 {other[:12]}.... Delete the folder of the cache, or name '
                        'another cache_dir, then run `mmseg-ssprompt cache CONFIG`; or set '
                        'model.weights to the file that the cache was made with'
                    )
