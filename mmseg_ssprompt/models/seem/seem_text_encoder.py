"""Class names to unit-length embeddings, by SEEM's own text tower and its 81 templates."""

from os import PathLike
from typing import List, Sequence, Tuple, Union

import torch
from mmseg.registry import MODELS
from mmseg.utils.get_templates import PREDEFINED_TEMPLATES
from torch import Tensor

from ...class_names import check_class_names, check_templates, tokenize_class_names, tokenize_texts
from ...fingerprint import fingerprint_tensors
from ..base import Fingerprints, average_templates
from .seem_file import load_parts, where_to_get
from .seem_text_tower import SEEMTextTower, SEEMTextTransformer
from .seem_variants import get_variant

__all__ = ['SEEM_TEMPLATES', 'SEEMTextEncoder', 'simplify_class_name']

#: The templates that SEEM is evaluated with: the name alone, and the 80 of ImageNet.
SEEM_TEMPLATES: Tuple[str, ...] = ('{}.', *PREDEFINED_TEMPLATES['imagenet'])
#: What COCO adds to names, and SEEM leaves out.
_SUFFIXES = ('-other', '-merged', '-stuff')
_TEXTS_PER_BATCH = 256


@MODELS.register_module()
class SEEMTextEncoder:
    """Encodes class names with SEEM's text tower: the default semantic prompts.

    Fulfils :class:`~mmseg_ssprompt.models.base.ClassNameEncoder`. It is no module, since it is used
    once, when semantic prompts are built, and then dropped.

    Args:
        variant: A key of ``SEEM_VARIANTS``.
        checkpoint: SEEM's file. Defaults to None: random weights, and the log says so.
        templates: Texts with ``{}`` where the class name goes, whose embeddings are averaged, or
            the name of a predefined set of mmseg's. Defaults to :data:`SEEM_TEMPLATES`, SEEM's own.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file does not fit the variant.
        ValueError: If there is no such variant or set of templates, or a template has no ``{}``.
    """

    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='seem')

    where_to_get = staticmethod(where_to_get)

    def __init__(
        self,
        variant: str,
        checkpoint: Union[str, 'PathLike[str]', None] = None,
        templates: Union[str, Sequence[str]] = SEEM_TEMPLATES,
    ) -> None:
        self.variant = variant
        self.templates = check_templates(templates)
        geometry = get_variant(variant)
        self.embed_dims = geometry.hidden_dims
        # The state of the random number generator is left as it was found.
        with (
            torch.random.fork_rng(devices=[]),
            torch.device('cpu' if checkpoint is None else 'meta'),
        ):
            self.tower = SEEMTextTower(geometry).requires_grad_(False).eval()
        load_parts(dict(text_encoder=self.tower), checkpoint, variant)
        self.pretrained = checkpoint is not None

    def fingerprints(self) -> Fingerprints:
        """SHA-256 of the weights; None if they are random."""
        weights = fingerprint_tensors(self.tower.state_dict()) if self.pretrained else None
        return dict(text_encoder=weights)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tuple[Tensor, Tensor]:
        """Embedded tokens (C, L, W) of C texts, and the index of each text's end (C,).

        As in :meth:`encode`, what COCO adds to names is left out.

        Raises:
            ValueError: If a text is longer than 77 tokens.
        """
        return self._embed_tokens(tokenize_texts([*map(simplify_class_name, texts)]))

    def text_transformer(self) -> SEEMTextTransformer:
        """The text transformer as a frozen module, with gradients to embedded tokens."""
        transformer = SEEMTextTransformer(self.tower)
        transformer.pretrained = self.pretrained
        return transformer

    @torch.no_grad()
    def encode(self, class_names: Sequence[str]) -> Tensor:
        """Encode class names as SEEM does for evaluation.

        What COCO adds to names (``-other``, ``-merged``, ``-stuff``) is left out. A class is the
        mean over the templates of the unit-length embeddings of its texts, made unit length again.

        Args:
            class_names: The C class names.

        Returns:
            Embeddings (C, E) of unit length, in float32 and without gradient.

        Raises:
            ValueError: If class names are not valid (see :mod:`.class_names`), a text is longer
                than 77 tokens, or an embedding is zero or not finite.
        """
        names = check_class_names(class_names)
        tokens = tokenize_class_names([*map(simplify_class_name, names)], self.templates)
        texts = self._encode_tokens(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return average_templates(texts, names, "SEEM's text tower")

    def _encode_tokens(self, tokens: Tensor) -> Tensor:
        """Embeddings (S, E) of S texts (S, L), of unit length each."""
        transformer = self.text_transformer()
        order = tokens.argmax(dim=-1).argsort(stable=True)  # texts of one length beside each other
        encoded: List[Tensor] = []
        with torch.autocast(tokens.device.type, enabled=False):
            for batch in tokens[order].split(_TEXTS_PER_BATCH):
                longest = int(batch.argmax(dim=-1).max()) + 1
                encoded.append(transformer(*self._embed_tokens(batch[:, :longest])))
        return torch.cat(encoded)[order.argsort()]

    def _embed_tokens(self, tokens: Tensor) -> Tuple[Tensor, Tensor]:
        embedded: Tensor = self.tower.lang_encoder.token_embedding(tokens)
        return embedded, tokens.argmax(dim=-1)  # the mark of a text's end has the highest id


def simplify_class_name(name: str) -> str:
    """A class name without what COCO adds to it, as SEEM is evaluated.

    ``sky-other-merged`` is ``sky``, and ``wall-brick`` stays.
    """
    for suffix in _SUFFIXES:
        name = name.replace(suffix, '')
    return name
