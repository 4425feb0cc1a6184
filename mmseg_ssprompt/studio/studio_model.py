"""A frozen base model with one or two sets of prompts, which are tried without training."""

import copy
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import Tensor

from ..config_reading import ConfigError
from ..models.base import Decoded, ImageFeatures
from ..models.heads import SSPromptHead
from ..models.heads.ssprompt_head import HeadOutput
from ..models.prompts import SemanticPromptLearner
from ..models.sam import SAMSegmenter
from ..models.sam.decoding import MULTI_MASK_TOKENS, decode_independent
from ..models.segmentors import PromptSegmentor
from ..prediction.predictor import Predictor, TrainedModel, read_model
from ..prompt_files.published import is_published
from ..prompt_files.transfer import match_classes
from ..weights.checkpoint_loader import safe_checkpoint_loading
from ..weights.model_weights import hand_down_weights
from ..weights.prompt_places import find_prompt_file
from .look import Look, StudioError
from .opened import OpenPicture
from .prompt_set import PromptSet
from .segmenting import Naming

__all__ = ['HANDCRAFTED', 'OTHER', 'OWN', 'StudioModel']

#: The sets of prompts: that of the model, another one, and those of no training.
OWN, OTHER, HANDCRAFTED = 'own', 'other', 'handcrafted'
#: Class names whose embeddings are kept.
_ENCODED = 2000

PathLike = Union[str, 'os.PathLike[str]']


class StudioModel:
    """A model that shows what its prompts do.

    Args:
        trained: Of ``read_model``; its config is changed.
        device: As for :class:`Predictor`. Defaults to None.
        other: Prompts to compare with: a file of prompts for the same config, or a folder or
            ``hf://USER/NAME`` as ``trained`` is read from. Defaults to None.

    Attributes:
        name: Of its folder or config.
        predictor: The model, and how it reads pictures.
        sets: The sets of prompts by name, :data:`OWN` and maybe :data:`OTHER`.
        views: What masks can be made into, of ``OUTPUTS``.
        can_rename: Whether other class names can be tried.

    Raises:
        ConfigError: As :class:`Predictor`; or if the model has no masks of prompts for a whole
            picture, or the two sets have different base models.
    """

    def __init__(
        self,
        trained: TrainedModel,
        device: Optional[str] = None,
        other: Optional[PathLike] = None,
    ) -> None:
        cfg, config = trained.cfg, trained.config
        self.name = (trained.folder or config).name
        untouched = trained._replace(cfg=copy.deepcopy(cfg))
        self.predictor = Predictor(trained, device)
        self.model: PromptSegmentor = self.predictor.model
        _check_whole(self.model, config)
        prompts = trained.prompts or config
        self.sets = {OWN: PromptSet.of(prompts.name, self.predictor)}
        outputs = (each for each in self.model.outputs if each != 'semantic')
        self.views = (*outputs, 'semantic')
        self.can_rename = self.sets[OWN].can_rename
        self._encoder = _build_text_encoder(cfg) if self.can_rename else None
        self._encoded: OrderedDict[str, Tensor] = OrderedDict()
        if other is not None:
            self._add_other(untouched, other, device)

    @property
    def head(self) -> SSPromptHead:
        """The head of the model's own prompts."""
        return self.sets[OWN].head

    @property
    def num_masks(self) -> int:
        """How many masks each picture has."""
        count: int = self.head.spatial_prompts.num_prompts * self.head.segmenter.masks_per_prompt
        return count

    def _add_other(self, own: TrainedModel, other: PathLike, device: Optional[str]) -> None:
        """Read other prompts; ``own`` is that of the model, before it was built."""
        if is_published(other) or Path(other).expanduser().is_dir():
            read = read_model(other)
            if own.cfg.model.get('weights'):  # of one base model, which is checked below
                read.cfg.model.weights = own.cfg.model.weights
        else:
            file = find_prompt_file(other)
            if not file.is_file():
                raise FileNotFoundError(f'--compare {str(file)!r}: expected prompts, found no file')
            read = own._replace(prompts=file, folder=None)
        predictor = Predictor(read, device)
        _check_whole(predictor.model, read.config)
        for part in ('backbone', 'decode_head.segmenter'):
            mine, its = (
                m.get_submodule(part).fingerprints() for m in (self.model, predictor.model)
            )
            if mine != its:
                raise ConfigError(
                    f'{str(other)!r}: expected prompts of the same base model as '
                    f'{str(own.config)!r}, found another one ({part} differs). Compare prompts '
                    'of one base model'
                )
        prompts = read.prompts or read.config
        self.sets[OTHER] = PromptSet.of(_short_name(prompts, own.prompts), predictor)

    # ---- classes

    def naming(self, look: Look, which: str = OWN) -> Naming:
        """The classes of a set of prompts under a look.

        Raises:
            StudioError: If its names cannot be changed.
        """
        return self.sets[which].naming(look)

    def _rows(self, look: Look, which: str) -> Tensor:
        """The semantic prompts (C, E) of a set under a look."""
        head = self.sets[which].head
        learner, trained = head.semantic_prompts, tuple(head.class_names)
        if not isinstance(learner, SemanticPromptLearner):
            rows: Tensor = learner()
            return rows
        rows = learner(look.semantic)
        if look.names is None or look.names == trained:
            return rows
        matched = match_classes(trained, look.names)
        encoded = self._encode([n for row, n in enumerate(look.names) if row not in matched])
        found = [
            rows[matched[row]] if row in matched else encoded[name].to(rows)
            for row, name in enumerate(look.names)
        ]
        return torch.stack(found)

    def _encode(self, names: Sequence[str]) -> Dict[str, Tensor]:
        """The embeddings (E,) of names, of unit length, as handcrafted prompts have them."""
        new = [name for name in names if name not in self._encoded]
        if new:
            assert self._encoder is not None
            try:
                embeddings = self._encoder.encode(new)
            except ValueError as error:
                raise StudioError(f'A class name cannot be encoded: {error}.') from error
            self._encoded.update(zip(new, embeddings))
        found = {name: self._encoded[name] for name in names}
        while len(self._encoded) > _ENCODED:
            self._encoded.popitem(last=False)
        return found

    # ---- masks

    @torch.no_grad()
    def output(self, picture: OpenPicture, look: Look, which: str = OWN) -> HeadOutput:
        """Masks (N, h, w) of a picture, and their class logits for the C names of a look.

        What is decoded is kept with the picture; other class names, and another trust in semantic
        prompts, need no decoding.
        """
        own = self.sets[which]
        head, features = own.head, picture.features
        has_trust = own.trust('spatial') is not None
        key = which, look.spatial if has_trust else None

        def decode() -> Decoded:
            weight = (look.spatial,) if has_trust else ()
            spatial = head.spatial_prompts(head.segmenter, features, *weight)
            decoded: Decoded = head.segmenter.decode(features, spatial)
            return decoded

        def classify() -> Tensor:
            logits: Tensor = head.classifier(decoded, self._rows(look, which), features)
            return logits.float()

        decoded = picture.decoded(key, decode)
        logits = picture.class_logits((*key, look.semantic, look.names), classify)
        return HeadOutput(decoded.mask_logits.float(), logits, decoded.quality).image(0)

    @torch.no_grad()
    def ask_base(self, picture: OpenPicture, place: Tuple[float, float], look: Look) -> HeadOutput:
        """What the base model itself says of one point.

        Args:
            picture: Was opened with this model.
            place: (x, y) as fractions of the padded frame.
            look: Its names; weights do not count.

        Returns:
            One mask (1, h, w); of SAM the one of its three with the highest predicted IoU, as SAM
            is used with a single click. The class logits (1, C + 1) are those of the names alone;
            (1, 0) where the base model has no classes.
        """
        segmenter, features = self.head.segmenter, picture.features
        xy = torch.tensor([place], device=self.predictor.device)
        prompt = segmenter.encode_points(xy, features)
        if isinstance(segmenter, SAMSegmenter):
            masks, quality = _decode_click(segmenter, features, prompt)
            best = int(quality.argmax())
            return HeadOutput(
                masks[best : best + 1], masks.new_zeros(1, 0), quality[best : best + 1]
            )
        decoded = segmenter.decode(features, prompt)
        class_logits = decoded.mask_logits.new_zeros(1, 1, 0)
        if decoded.class_embeddings is not None:
            rows = self._rows(look._replace(semantic=0.0), OWN)
            class_logits = self.head.classifier(decoded, rows, features)
        return HeadOutput(decoded.mask_logits.float(), class_logits, decoded.quality).image(0)


def _decode_click(
    segmenter: SAMSegmenter, features: ImageFeatures, prompt: Tensor
) -> Tuple[Tensor, Tensor]:
    """SAM's three masks (3, h, w) of a click, and their predicted IoUs (3,)."""
    encoder = segmenter.prompt_encoder
    masks, _, quality = decode_independent(
        *(segmenter.mask_decoder.decoder, features.embedding, encoder.image_pe(), prompt),
        *(encoder.dense_prompt(), MULTI_MASK_TOKENS),
    )
    return masks[0, 0].float(), quality[0, 0, list(MULTI_MASK_TOKENS)]


def _short_name(file: Path, beside: Optional[Path]) -> str:
    """The name of a file, with its folder where another one is called the same."""
    same = beside is not None and beside.name == file.name
    return f'{file.parent.name}/{file.name}' if same else file.name


def _check_whole(model: PromptSegmentor, config: Path) -> None:
    """Refuse what has no masks of prompts, or none of a whole picture."""
    if not isinstance(model.decode_head, SSPromptHead):
        raise ConfigError(
            f'config {str(config)!r}: expected a head with prompts (SSPromptHead), found '
            f'{type(model.decode_head).__name__}, which has no masks to look at: its label maps '
            'are written by "mmseg-ssprompt predict"'
        )
    if model.test_cfg.mode == 'slide':
        raise ConfigError(
            f"config {str(config)!r}: expected model.test_cfg.mode='whole', found 'slide': each "
            'window has masks of its own, and the studio shows those of a whole picture'
        )


@safe_checkpoint_loading()
def _build_text_encoder(cfg: Config) -> Any:
    """The frozen text encoder, which semantic prompts use once and drop."""
    head = hand_down_weights(cfg.model)['decode_head']
    return MODELS.build(head['semantic_prompts']['text_encoder'])
