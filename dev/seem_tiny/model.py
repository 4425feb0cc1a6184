"""seem-tiny: the parts of SEEM at small size, made trainable."""

import math
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_ssprompt.miniature.shapes_world import get_world
from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.seem.backbones import build_backbone
from mmseg_ssprompt.models.seem.pixel_decoders import build_pixel_decoder
from mmseg_ssprompt.models.seem.seem_decoder import SEEMDecoder
from mmseg_ssprompt.models.seem.seem_file import SEEM_PARTS, load_parts
from mmseg_ssprompt.models.seem.seem_prompt_encoder import SEEMPromptEncoder, sample
from mmseg_ssprompt.models.seem.seem_text_tower import SEEMTextTower, SEEMTextTransformer
from mmseg_ssprompt.models.seem.seem_variants import get_variant

__all__ = ['FRAME', 'VARIANT', 'WEIGHTS_NAME', 'Clicked', 'SeemTiny', 'answers']

VARIANT = 'tiny'
WEIGHTS_NAME = 'seem-tiny_shapes.pth'
#: Side of the frame to which scenes of 96 x 96 are enlarged; masks have a quarter of it.
FRAME = 128
#: Of the pre-training world.
NUM_CLASSES = len(get_world('pretraining').classes)


class Clicked(NamedTuple):
    """What the R queries of each of N clicks find.

    Attributes:
        masks: (B, N, R, h, w), logits.
        tokens: (B, N, R, D), of the queries.
        fit: (B, N, R), logits of which of them answers.
    """

    masks: Tensor
    tokens: Tensor
    fit: Tensor


class SeemTiny(nn.Module):
    """Everything that is pre-trained: the modules of the package, which are frozen there.

    Attributes:
        parts: By the names of ``SEEM_PARTS``.
        dense: Classes of single places of the mask features and of the finest level, in training.
        names: Classes of captions, in training.
    """

    def __init__(self) -> None:
        super().__init__()
        variant = get_variant(VARIANT)
        self.backbone = build_backbone(variant)
        self.pixel_decoder = build_pixel_decoder(variant)
        self.decoder = SEEMDecoder(variant, trainable=True)
        self.prompts = SEEMPromptEncoder(variant)
        self.tower = SEEMTextTower(variant)
        self.transformer = SEEMTextTransformer(self.tower)  # the tower's modules again
        self.prompts.level_embed = self.decoder.level_embed
        self.tower.logit_scale = self.decoder.logit_scale
        self.parts: Dict[str, nn.Module] = dict(
            backbone=self.backbone,
            pixel_decoder=self.pixel_decoder,
            mask_decoder=self.decoder,
            prompt_encoder=self.prompts,
            text_encoder=self.tower,
        )
        dims = variant.hidden_dims
        self.dense = nn.ModuleList(nn.Linear(dims, NUM_CLASSES) for _ in range(2))
        # One more for the background.
        self.names = nn.Linear(dims, NUM_CLASSES + 1, bias=False)
        self.num_queries = variant.num_queries
        self.queries_per_prompt = variant.queries_per_prompt
        self._initialise()
        self.requires_grad_(True)

    def _initialise(self) -> None:
        """Change the beginning where a small model on little data is better off."""
        language = self.tower.lang_encoder
        # Rows of words that no caption has stay as they are, and should differ.
        nn.init.normal_(language.token_embedding.weight, std=0.2)
        nn.init.normal_(language.positional_embedding, std=0.05)
        nn.init.orthogonal_(self.names.weight)  # unit vectors, far apart
        nn.init.constant_(self.decoder.logit_scale, math.log(12.0))

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Normalised images (B, 3, H, W), which are enlarged, to features."""
        images = F.interpolate(images, size=(FRAME, FRAME), mode='bilinear', align_corners=False)
        levels, embedding = self.pixel_decoder(self.backbone(images))
        return ImageFeatures(levels, None, embedding)

    def text(self, tokens: Tensor) -> Tensor:
        """Token ids (S, L) to unit vectors (S, E)."""
        embedded = self.tower.lang_encoder.token_embedding(tokens)
        return self.transformer(embedded, tokens.argmax(dim=-1))

    def find_objects(self, features: ImageFeatures) -> List[Tensor]:
        """What SEEM's own queries are before the first layer and after each: (B, Q, D) each."""
        content, place = self.prompts.own_queries().unbind(dim=1)
        start = content.expand(len(features.embedding), -1, -1)
        return [self.decoder.decoder_norm(start), *self._decode(features, content, place)]

    def find_clicked(self, features: ImageFeatures, points: Tensor, rows: Tensor) -> List[Clicked]:
        """Decode clicks.

        Args:
            features: Of B images.
            points: (B, N, 2), x before y, in fractions of the frame.
            rows: (N * R,), the object queries that those of the clicks are copies of.

        Returns:
            What is found after each layer.
        """
        points = points.unsqueeze(2)
        tokens = self.prompts.encode(points, features)  # (B, N, 3, 1, D)
        mask_feature = sample(features.embedding, points).squeeze(2)  # (B, N, D)
        content, place = self.prompts.query_feat.weight[rows], self.prompts.query_embed.weight[rows]
        return [
            self._read_clicked(out, features, mask_feature)
            for out in self._decode(features, content, place, tokens)
        ]

    def masks(self, out: Tensor, features: ImageFeatures) -> Tensor:
        """Mask logits (B, Q, h, w) of queries (B, Q, D)."""
        return self.decoder.mask_logits(self.decoder.mask_embed(out), features)

    def classify(self, out: Tensor, text: Tensor) -> Tensor:
        """Queries (..., D) and embeddings of C classes and the background to (..., C + 1)."""
        return self.decoder.class_embeddings(out) @ text.t()

    def name_places(self, features: ImageFeatures) -> List[Tensor]:
        """Logits (B, C, h, w) of single places, for the dense loss."""
        maps = (features.embedding, features.levels[0])
        return [
            head(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for head, x in zip(self.dense, maps)
        ]

    def name_captions(self, text: Tensor) -> Tensor:
        """Logits (C + 1, C + 1) of the classes of captions (C + 1, E)."""
        logits: Tensor = self.decoder.logit_scale.exp() * self.names(text)
        return logits

    def _decode(
        self, features: ImageFeatures, content: Tensor, place: Tensor, *tokens: Tensor
    ) -> List[Tensor]:
        """The decoder's output after each layer, normalised."""
        found: List[Tensor] = []
        hooks = [
            ffn.register_forward_hook(lambda _, __, out: found.append(out))
            for ffn in self.decoder.transformer_ffn_layers
        ]
        self.decoder(features, content[None], place[None], *tokens)
        for hook in hooks:
            hook.remove()
        return [self.decoder.decoder_norm(x) for x in found]

    def _read_clicked(self, out: Tensor, features: ImageFeatures, mask_feature: Tensor) -> Clicked:
        shape = (mask_feature.shape[1], self.queries_per_prompt)
        embeddings = self.decoder.mask_embed(out)
        masks = self.decoder.mask_logits(embeddings, features).unflatten(1, shape)
        fit = torch.einsum('bnrd,bnd->bnr', embeddings.unflatten(1, shape), mask_feature)
        return Clicked(masks, out.unflatten(1, shape), fit)

    def official_state(self) -> Dict[str, Tensor]:
        """All weights under the names of official files, as views."""
        state: Dict[str, Tensor] = {}
        for part, module in self.parts.items():
            for name, tensor in module.state_dict().items():
                if (part, name) != ('mask_decoder', 'logit_scale'):  # the text tower has it
                    state[SEEM_PARTS[part] + name] = tensor
        return state

    def save(self, folder: Path) -> None:
        """Write the weights as float16, in the layout of SEEM's own files."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().half().clone() for k, v in self.official_state().items()}
        torch.save(state, folder / WEIGHTS_NAME)

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote."""
        load_parts(self.parts, folder / WEIGHTS_NAME, VARIANT)
        self.requires_grad_(True)


def answers(clicked: Clicked) -> Tuple[Tensor, Tensor]:
    """Masks (B, N, h, w) and tokens (B, N, D) of the queries that answer."""
    best = clicked.fit.argmax(dim=-1)[:, :, None]  # (B, N, 1)
    masks = clicked.masks.take_along_dim(best[..., None, None], dim=2).squeeze(2)
    return masks, clicked.tokens.take_along_dim(best[..., None], dim=2).squeeze(2)
