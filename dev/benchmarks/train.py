"""A training step from an embedded sample, against one that embeds its images."""

import argparse
import tempfile
from functools import cached_property, partial
from pathlib import Path
from typing import Iterator, Optional, Tuple

import torch
from torch import Tensor, nn

from mmseg_ssprompt.cache import EmbeddedSample, EmbeddingCache, fill_cache, finish_cache
from mmseg_ssprompt.models.base import Decoded, ImageFeatures
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput
from mmseg_ssprompt.models.sam.sam_variants import build_image_encoder, get_variant

from .model import build_model, make_samples
from .rows import Row, find_difference, take_turns

__all__ = ['Step', 'TrainingStep', 'compare', 'make_embedded_step']

WARM_UP = 5


class Step:
    """Forward, backward and an optimiser's step of a whole model, with random images.

    Args:
        model: What trains.
        count: Images.
        frame: Their size (H, W) in pixels.
        features: Of the images. Defaults to None: what the model's backbone makes of them.
    """

    def __init__(
        self,
        model: nn.Module,
        count: int,
        frame: Tuple[int, int],
        features: Optional[ImageFeatures] = None,
    ) -> None:
        self.model = model.train()
        self.head = model.decode_head
        self.images = torch.randn(count, 3, *frame).to(next(model.parameters()).device)
        self.samples = make_samples(model, count, frame)
        self.features = features or model.extract_feat(self.images)
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.0)  # every step is the same step

    def fuse_optimizer(self) -> None:
        """Let the optimiser change all parameters at once, as ``fused=True`` in a config does."""
        self.optimizer = torch.optim.AdamW(
            self.optimizer.param_groups[0]['params'], 0.0, fused=True
        )

    def from_embedding(self) -> Tensor:
        """Joint decoding of a cached embedding."""
        return self._step(self.head(self.features))

    def from_images(self) -> Tensor:
        """Joint decoding of what our encoder makes of the images."""
        return self._step(self.head(self.model.extract_feat(self.images)))

    def _step(self, output: HeadOutput) -> Tensor:
        torch.manual_seed(0)  # the same points in every step
        losses = self.head.loss_by_feat(output, self.samples)
        total = sum(losses.values())
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        return total.detach()


class TrainingStep(Step):
    """That of the model on SAM."""

    def __init__(
        self,
        args: argparse.Namespace,
        batch: Optional[int] = None,
        clip: bool = False,
        compile: bool = False,
    ) -> None:
        model = build_model(args, clip, compile)
        side = model.decode_head.segmenter.prompt_encoder.image_size
        super().__init__(model, batch or args.batch, (side, side))

    @cached_property
    def official(self) -> nn.Module:
        """SAM's own image encoder with the model's weights; only :meth:`naive` needs it."""
        backbone = self.model.backbone
        encoder = build_image_encoder(backbone.variant).eval().requires_grad_(False)
        encoder.load_state_dict(backbone.model.state_dict())
        return encoder.to(self.images.device)

    def naive(self) -> Tensor:
        """The official encoder, then the official decoder for each image, all prompts at once."""
        with torch.no_grad():
            embedding = self.official(self.images)
        outputs = [self._decode_officially(image[None]) for image in embedding]
        decoded = Decoded(*(torch.stack(each) for each in zip(*outputs)))
        class_logits = self.head.classifier(decoded, self.head.semantic_prompts())
        return self._step(HeadOutput(decoded.mask_logits, class_logits))

    def _decode_officially(self, embedding: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """One image's :class:`Decoded`; the official module keeps its mask tokens."""
        segmenter = self.head.segmenter
        encoder, decoder = segmenter.prompt_encoder, segmenter.mask_decoder.decoder
        tokens = []
        handle = decoder.transformer.register_forward_hook(
            lambda module, args, output: tokens.append(output[0][:, 1])
        )
        sparse = self.head.spatial_prompts(segmenter)
        prompts = (encoder.image_pe(), sparse, encoder.dense_prompt())
        masks, iou = decoder(embedding, *prompts, multimask_output=False)
        handle.remove()
        return masks[:, 0], tokens[0], iou[:, 0]


def make_embedded_step(model: nn.Module, variant: str, count: int) -> Step:
    """That of a model on SAM from random image embeddings, without its image encoder."""
    torch.manual_seed(0)
    sam = get_variant(variant)
    shape = (count, sam.prompt_embed_dim, sam.embedding_size, sam.embedding_size)
    embedding = torch.randn(shape).to(next(model.parameters()).device)
    frame = (sam.image_size, sam.image_size)
    return Step(model, count, frame, ImageFeatures((), None, embedding))


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time of a step, and of reading what it needs."""
    case = TrainingStep(args)
    difference = find_difference(case.from_embedding(), case.from_images())
    name = 'training step from embedded samples, over'
    turns = partial(take_turns, args)
    yield turns(f'{name} one with our encoder', case.from_embedding, case.from_images, difference)
    case.official.eval()  # built here, and not while the time is taken
    losses = []  # of passes so long that none is made for the result alone
    row = turns(
        f'{name} the official modules',
        case.from_embedding,
        lambda: losses.append(case.naive()),
    )
    case.head.segmenter.mask_decoder.decoding = 'independent'
    row.difference = find_difference(case.from_embedding(), losses[-1])
    case.head.segmenter.mask_decoder.decoding = 'joint'
    yield row
    yield from _compare_compiled(args, case)
    with tempfile.TemporaryDirectory() as folder:
        cache = _make_cache(Path(folder), case)
        read = partial(_read, cache, args.batch)
        read()
        yield turns('reading embedded samples, of the training step', read, case.from_embedding)


def _compare_compiled(args: argparse.Namespace, case: TrainingStep) -> Iterator[Row]:
    """Time of a step with ``decode_head.compile=True``, and with an optimiser of one kernel."""
    compiled = TrainingStep(args, compile=True)
    difference = find_difference(compiled.from_embedding(), case.from_embedding())
    for _ in range(WARM_UP):  # CUDA graphs are recorded in the steps that follow compiling
        compiled.from_embedding()
    name = 'training step from embedded samples, compiled'
    runs = (compiled.from_embedding, case.from_embedding)
    yield take_turns(args, f'{name}, over one that is not', *runs, difference)
    compiled.fuse_optimizer()
    compiled.from_embedding()
    yield take_turns(args, f'{name}, with fused AdamW, over plain', *runs, difference)


def _make_cache(folder: Path, case: TrainingStep) -> EmbeddingCache:
    """Embedded samples on disk, in float16 as by default."""
    embedding = case.features.embedding.half().cpu()
    count, key = len(embedding), dict(made_by='benchmark')
    samples = [
        EmbeddedSample(
            dict(embedding=embedding[i]), sample.gt_sem_seg.data.to('cpu', torch.uint8), {}
        )
        for i, sample in enumerate(case.samples)
    ]
    fill_cache(folder, key, range(count), samples.__getitem__)
    finish_cache(folder, key, {}, count)
    return EmbeddingCache(folder, key)


def _read(cache: EmbeddingCache, count: int) -> Tensor:
    """What a data loader's worker does, without its processes: read and check a batch."""
    samples = [cache[number] for number in range(count)]
    return torch.stack([sample.features['embedding'].float() for sample in samples])
