"""The projection from sam-tiny's mask tokens to the text space of the CLIP pair."""

import math
from pathlib import Path

import torch
from torch import nn

from mmseg_ssprompt.models.sam.mask_decoder import decode_joint

from ..sam_tiny.data import Scenes, Vocabulary
from ..sam_tiny.losses import Targets, jittered_grid, joint_losses
from ..sam_tiny.model import SamTiny, TinyTextEncoder
from ..sam_tiny.optimisation import warm_up_and_decay

__all__ = ['load_sam', 'save_projection', 'train_projection']

PROJECTION_NAME = 'projection-clip-pair-tiny_shapes.pth'


def load_sam(folder: Path, text: TinyTextEncoder) -> SamTiny:
    """sam-tiny, frozen, beside another text tower and with a projection to be learned."""
    model = SamTiny()
    model.load(folder)
    model.text = text
    model.requires_grad_(False)
    model.projection.reset_parameters()
    nn.init.normal_(model.no_object)
    model.logit_scale.fill_(math.log(12.0))
    for part in (model.projection.weight, model.projection.bias, model.no_object):
        part.requires_grad_(True)
    model.logit_scale.requires_grad_(True)
    return model.eval()


def train_projection(
    model: SamTiny,
    scenes: Scenes,
    num_things: int,
    vocabulary: Vocabulary,
    iters: int,
    batch_size: int,
    lr: float,
    grid: int,
    stuff_named: float,
    seed: int,
) -> float:
    """Train what :func:`load_sam` left open, by the labels of grids that are decoded jointly.

    Returns:
        The loss of the last tenth of the steps.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=0.0)
    schedule = warm_up_and_decay(optimizer, iters)
    last = []
    for _ in range(iters):
        indices = torch.randint(len(scenes.images), (batch_size,), generator=generator)
        images, labels, regions = scenes.batch(indices, bool(torch.rand(()) < 0.5))
        points = jittered_grid(batch_size, grid, images.shape[-1])
        with torch.no_grad():
            text = model.text(vocabulary.sample(generator))
            embedding = model.encode_image(images)
            pe, dense = model.image_inputs()
            sparse = model.encode_points(points)
            logits, tokens, _ = decode_joint(model.sam.mask_decoder, embedding, pe, sparse, dense)
        named = torch.rand(batch_size, len(text)) < stuff_named
        named[:, :num_things] = True
        targets = Targets(labels, regions, num_things, named)
        losses = joint_losses(model, logits.squeeze(2), tokens.squeeze(2), targets, points, text)
        loss = losses['grid_match'] + losses['grid_name']  # masks are frozen
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        last = [*last, loss.item()][-max(iters // 10, 1) :]
    return sum(last) / len(last)


def save_projection(model: SamTiny, folder: Path) -> None:
    """Write the trained part as float16, in the layout of sam-tiny's projection."""
    state = model.asset_parts()['projection-tiny_shapes.pth']
    saved = {k: v.detach().half().clone() for k, v in state.items()}
    torch.save(saved, folder / PROJECTION_NAME)
