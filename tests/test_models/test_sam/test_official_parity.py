"""From pixels to masks, the frozen parts of one file compute what the official SAM does.

The image goes through mmseg's pipeline and preprocessor on our side, and through
``SamPredictor.set_image`` or ``Sam.preprocess`` on the other.
"""

from pathlib import Path
from typing import Iterator, NamedTuple, Optional

import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from torch import Tensor

from mmseg_ssprompt.models.base import Decoded
from mmseg_ssprompt.models.sam import SAMImageEncoder, SAMMaskDecoder, SAMPromptEncoder
from official_sam import randomised_sam

from .test_preprocessing import our_inputs, random_image, to_rgb

KINDS = ('point', 'points', 'box')


class Case(NamedTuple):
    """One image as the official predictor and as our parts see it."""

    variant: str
    file: Path
    predictor: SamPredictor
    embedding: Tensor  # ours, (1, D, h, w)


class Prompts(NamedTuple):
    """N prompts in pixels, as the official prompt encoder takes them."""

    points: Optional[Tensor] = None  # (N, P, 2)
    labels: Optional[Tensor] = None  # (N, P)
    boxes: Optional[Tensor] = None  # (N, 4)

    def encode(self, encoder: SAMPromptEncoder) -> Tensor:
        if self.boxes is not None:
            return encoder.encode_boxes(self.boxes)
        return encoder.encode_points(self.points, self.labels)


def with_official_pixel_statistics(sam: Sam) -> Sam:
    """The same model with the mean and deviation that segment_anything has, not ours."""
    return Sam(sam.image_encoder, sam.prompt_encoder, sam.mask_decoder).eval()


@pytest.fixture(
    scope='module',
    params=[
        ('tiny', 96, 96),
        ('tiny', 60, 96),
        ('tiny', 96, 41),
        pytest.param(('vit_b', 1024, 1024), marks=pytest.mark.slow),
    ],
    ids=lambda param: '{}-{}x{}'.format(*param),
)
def case(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """An image that fills the variant's input, or is padded to it; none is resized."""
    variant, height, width = request.param
    sam = randomised_sam(variant)
    file = tmp_path_factory.mktemp('sam') / f'sam_{variant}.pth'
    try:
        torch.save(sam.state_dict(), file)
        bgr = random_image(height, width)
        predictor = SamPredictor(with_official_pixel_statistics(sam))
        predictor.set_image(to_rgb(bgr))
        encoder = SAMImageEncoder(variant, file)
        embedding = encoder(our_inputs([bgr], encoder.image_size)).embedding
        yield Case(variant, file, predictor, embedding)
    finally:
        file.unlink(missing_ok=True)  # 375 MB of vit_b


@pytest.fixture
def prompt_encoder(case: Case) -> SAMPromptEncoder:
    return SAMPromptEncoder(case.variant, case.file)


def make_prompts(kind: str, size: int, seed: int = 1) -> Prompts:
    """Three prompts inside an image of ``size`` pixels."""
    points = size * torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(seed))
    if kind == 'point':
        return Prompts(points[:, :1], torch.tensor([[1], [0], [1]]))
    if kind == 'points':
        return Prompts(points, torch.tensor([[1, 0], [1, 1], [0, -1]]))
    return Prompts(boxes=torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1))


def build_decoder(case: Case, **arguments) -> SAMMaskDecoder:
    return SAMMaskDecoder(case.variant, case.file, **arguments)


def decode(
    decoder: SAMMaskDecoder, embedding: Tensor, prompt_encoder: SAMPromptEncoder, sparse: Tensor
) -> Decoded:
    return decoder(embedding, prompt_encoder.image_pe(), sparse, prompt_encoder.dense_prompt())


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal within 1e-4, where what is expected is far from constant."""
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.01


def test_image_embedding_is_that_of_the_predictor(case: Case):
    assert_close(case.embedding, case.predictor.get_image_embedding())


@pytest.mark.parametrize('kind', KINDS)
def test_prompt_embeddings_are_the_official_ones(case: Case, prompt_encoder, kind):
    prompts = make_prompts(kind, prompt_encoder.image_size)
    official = case.predictor.model.prompt_encoder
    points = None if prompts.points is None else (prompts.points, prompts.labels)
    with torch.no_grad():
        sparse, dense = official(points=points, boxes=prompts.boxes, masks=None)
    assert_close(prompts.encode(prompt_encoder), sparse)
    assert_close(prompt_encoder.dense_prompt().expand_as(dense), dense)
    assert_close(prompt_encoder.image_pe(), official.get_dense_pe())


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('multimask_output', [False, True])
def test_masks_and_ious_are_those_of_the_predictor(
    case: Case, prompt_encoder, kind, multimask_output
):
    prompts = make_prompts(kind, prompt_encoder.image_size)
    _, iou, low_res_masks = case.predictor.predict_torch(
        prompts.points, prompts.labels, prompts.boxes, multimask_output=multimask_output
    )
    mask_output = 'all' if multimask_output else 'single'
    decoder = build_decoder(case, decoding='independent', mask_output=mask_output)
    found = decode(decoder, case.embedding, prompt_encoder, prompts.encode(prompt_encoder))
    assert_close(found.mask_logits, low_res_masks.flatten(0, 1)[None])
    assert_close(found.quality, iou.flatten(0, 1)[None])


def test_joint_decoding_of_one_prompt_gives_the_masks_of_the_predictor(case: Case, prompt_encoder):
    prompts = make_prompts('point', prompt_encoder.image_size)
    _, iou, low_res_masks = case.predictor.predict_torch(prompts.points, prompts.labels)
    decoder = build_decoder(case, decoding='joint', mask_output='all', carry_all_tokens=True)
    sparse = prompts.encode(prompt_encoder)
    for n in range(len(sparse)):
        found = decode(decoder, case.embedding, prompt_encoder, sparse[n : n + 1])
        assert_close(found.mask_logits, low_res_masks[n : n + 1])
        assert_close(found.quality, iou[n : n + 1])


def test_a_batch_gives_what_sam_gives_for_a_list_of_images(tiny_sam, tiny_file):
    images = [random_image(96, 96), random_image(60, 96)]
    prompts = [make_prompts('points', 60, seed) for seed in (1, 2)]
    expected = with_official_pixel_statistics(tiny_sam)(
        [
            dict(
                image=torch.from_numpy(to_rgb(bgr)).permute(2, 0, 1),
                original_size=bgr.shape[:2],
                point_coords=one.points,
                point_labels=one.labels,
            )
            for bgr, one in zip(images, prompts)
        ],
        multimask_output=True,
    )
    embedding = SAMImageEncoder('tiny', tiny_file)(our_inputs(images, 96, training=True))[-1]
    prompt_encoder = SAMPromptEncoder('tiny', tiny_file)
    decoder = SAMMaskDecoder('tiny', tiny_file, decoding='independent', mask_output='all')
    sparse = torch.stack([one.encode(prompt_encoder) for one in prompts])  # (B, N, T, D)
    found = decode(decoder, embedding, prompt_encoder, sparse)
    for b in range(2):
        assert_close(found.mask_logits[b].unflatten(0, (3, 3)), expected[b]['low_res_logits'])
        assert_close(found.quality[b].unflatten(0, (3, 3)), expected[b]['iou_predictions'])
    assert (found.mask_logits[0] - found.mask_logits[1]).abs().max() > 0.01
