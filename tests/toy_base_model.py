"""A base model that shares nothing with SAM: what it takes to plug one in.

Rectangular frames, three feature levels, prompts that see the image, class embeddings in a text
space of its own, other widths.
"""

import itertools

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import nn

from mmseg_ssprompt.fingerprint import fingerprint_tensors
from mmseg_ssprompt.models.base import Decoded, FrozenModule, ImageFeatures
from mmseg_ssprompt.weights.state_dicts import load_strictly, read_checkpoint

WIDTH, LEVELS, TEXT = 20, (6, 8, 10), 14  # D, D_l, E


class ToyPart(FrozenModule):
    """Weights from a file, or random ones."""

    def load(self, checkpoint):
        if checkpoint is not None:
            load_strictly(self, read_checkpoint(checkpoint), f'checkpoint {checkpoint!r}')
        self.pretrained = checkpoint is not None
        self.freeze()


@MODELS.register_module()
class ToyImageEncoder(ToyPart):
    part, weights_from = 'image_encoder', dict(checkpoint='toy')
    pixel_mean, pixel_std, divisor, frame = (127.5,) * 3, (127.5,) * 3, 16, None

    def __init__(self, checkpoint=None):
        super().__init__()
        widths = (3, *LEVELS)
        self.stem = nn.ModuleList(
            nn.Conv2d(i, o, 3, 4 if n == 0 else 2, 1)
            for n, (i, o) in enumerate(itertools.pairwise(widths))
        )
        self.mix = nn.Conv2d(LEVELS[0] + 3, WIDTH, 1)
        self.load(checkpoint)

    @torch.no_grad()
    def forward(self, x):
        levels, level = [], x
        for conv in self.stem:
            level = conv(level).tanh()
            levels.append(level)
        small = F.avg_pool2d(x, 4)
        return ImageFeatures(tuple(levels), None, self.mix(torch.cat([levels[0], small], dim=1)))

    @staticmethod
    def frame_of(config):
        return None

    @staticmethod
    def feature_shapes(config):
        levels = {f'level_{n}': (width, None, None) for n, width in enumerate(LEVELS)}
        return dict(levels, embedding=(WIDTH, None, None))

    @staticmethod
    def fingerprint_files(config):
        file = config.get('checkpoint')
        return dict(image_encoder=file and fingerprint_tensors(read_checkpoint(file)))


@MODELS.register_module()
class ToySegmenter(ToyPart):
    part, kind = 'prompt_encoder', 'toy'
    token_dims, tokens_per_prompt, masks_per_prompt = WIDTH, 3, 1
    prompts_see_image, predicts_iou = True, False

    def __init__(self, checkpoint=None):
        super().__init__()
        self.place = nn.Linear(2, 3 * WIDTH)
        self.coarse = nn.ModuleList(nn.Conv2d(width, WIDTH, 1) for width in LEVELS)
        self.to_class = nn.Linear(WIDTH, TEXT)
        self.load(checkpoint)

    def encode_points(self, xy, features=None):
        tokens = self.place(xy).unflatten(-1, (3, WIDTH))  # (N, 3, D)
        if features is None:
            return tokens
        grid = (2 * xy - 1)[None, None].expand(len(features.embedding), -1, -1, -1)
        seen = F.grid_sample(features.embedding, grid, align_corners=False)  # (B, D, 1, N)
        return tokens + seen.squeeze(2).transpose(1, 2).unsqueeze(2)  # (B, N, 3, D)

    def encode_boxes(self, xyxy, features=None):
        return self.encode_points((xyxy[:, :2] + xyxy[:, 2:]) / 2, features)

    def default_prompts(self):
        return None

    def decode(self, features, spatial):
        tokens = spatial.mean(dim=-2).expand(len(features.embedding), -1, -1)  # (B, N, D)
        size = features.embedding.shape[-2:]
        coarse = sum(F.interpolate(c(x), size) for c, x in zip(self.coarse, features.levels))
        masks = torch.einsum('bnd,bdhw->bnhw', tokens, features.embedding + coarse)
        return Decoded(masks, tokens, None, 5 * F.normalize(self.to_class(tokens), dim=-1))

    def no_object(self):
        return F.normalize(torch.ones(TEXT), dim=0)


@MODELS.register_module()
class ToyTextEncoder:
    embed_dims, templates = TEXT, ('{}',)

    def encode(self, class_names):
        seeds = [sum(map(ord, name.lower())) for name in class_names]
        rows = [torch.randn(TEXT, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return F.normalize(torch.stack(rows), dim=-1)

    def fingerprints(self):
        return dict(text_encoder='toy')
