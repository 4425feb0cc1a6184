"""Independent decoding is SAM's own; joint decoding is one pass of SAM's modules for all prompts.

Expected numbers come from segment_anything's ``MaskDecoder``, or from its modules put together
here in another way (:func:`joint_reference`).
"""

import copy
import re
from functools import partial
from typing import Callable, List, NamedTuple, Sequence, Tuple

import pytest
import torch
from mmseg.registry import MODELS
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor, nn

from mmseg_ssprompt.models.base import Decoded
from mmseg_ssprompt.models.sam.mask_decoder import SAMMaskDecoder
from mmseg_ssprompt.weights.state_dicts import CheckpointError

DECODINGS = ('independent', 'joint')
MASK_OUTPUTS = ('single', 'best', 'all')
PROMPTS = ('point', 'points', 'box')
TOKENS_WANTED = dict(single=(0,), best=(1, 2, 3), all=(1, 2, 3))
ALL_TOKENS = (0, 1, 2, 3)
NUM_PROMPTS = 6

Build = Callable[..., SAMMaskDecoder]
tensors_are_close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)


class Image(NamedTuple):
    """What the decoder is given of an image, or of several."""

    embedding: Tensor  # (B, D, h, w)
    pe: Tensor  # (1, D, h, w)
    dense_prompt: Tensor  # (1, D, h, w)

    def only(self, b: int) -> 'Image':
        return self._replace(embedding=self.embedding[b : b + 1])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(sam: Sam) -> Image:
    """Two images of noise."""
    embedding = torch.randn(2, 96, 12, 12, generator=generator(0))
    _, dense_prompt = sam.prompt_encoder(None, None, None)
    return Image(embedding, sam.prompt_encoder.get_dense_pe(), dense_prompt.detach())


def prompts_of(sam: Sam, kind: str, seed: int = 1) -> Tensor:
    """Sparse prompts (N, T, D) of the official prompt encoder: T is 2 for a point or a box."""
    points = 96 * torch.rand(NUM_PROMPTS, 3, 2, generator=generator(seed))
    labels = torch.randint(-1, 2, (NUM_PROMPTS, 3), generator=generator(seed))
    boxes = torch.cat([points[:, 0], points[:, 0] + 30], dim=1)
    given = dict(
        point=((points[:, :1], torch.ones(NUM_PROMPTS, 1)), None, None),
        points=((points, labels), None, None),
        box=(None, boxes, None),
    )
    return sam.prompt_encoder(*given[kind])[0].detach()


@pytest.fixture(scope='module')
def sam(tiny_sam: Sam) -> Sam:
    """The official model, where each of the tokens 1 to 3 has the best IoU of some prompt."""
    sam = copy.deepcopy(tiny_sam)
    image = images_of(sam).only(0)
    with torch.no_grad():
        _, iou = predict(sam.mask_decoder, image, prompts_of(sam, 'point'), True)
        sam.mask_decoder.iou_prediction_head.layers[-1].bias[1:] -= iou.mean(dim=0)
    return sam


@pytest.fixture(scope='module')
def sam_file(sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file as Meta AI saves it, of :func:`sam`."""
    path = tmp_path_factory.mktemp('sam') / 'sam_tiny.pth'
    torch.save(sam.state_dict(), path)
    return str(path)


@pytest.fixture(scope='module')
def build(sam_file: str) -> Build:
    """Our decoder, with the weights of ``sam``, by its other arguments."""
    return partial(SAMMaskDecoder, 'tiny', sam_file)


@pytest.fixture(scope='module')
def images(sam: Sam) -> Image:
    return images_of(sam)


@pytest.fixture(scope='module')
def image(images: Image) -> Image:
    return images.only(0)


@pytest.fixture(scope='module')
def prompts(sam: Sam) -> Tensor:
    return prompts_of(sam, 'point')


@pytest.fixture(scope='module')
def prompts_per_image(sam: Sam) -> Tensor:
    """(B, N, T, D)."""
    return torch.stack([prompts_of(sam, 'point', seed) for seed in (1, 2)])


def tensors(output: Decoded) -> Tuple[Tensor, Tensor, Tensor]:
    """All that SAM's decoder gives, which knows no class embeddings."""
    assert output.class_embeddings is None
    return output[:3]


def assert_close(found: Decoded, expected: Decoded) -> None:
    tensors_are_close(tensors(found), tensors(expected))


def stack_images(outputs: List[Decoded]) -> Decoded:
    return Decoded(*(torch.cat(parts) for parts in zip(*map(tensors, outputs))))


def decode(decoder: SAMMaskDecoder, image: Image, prompts: Tensor) -> Decoded:
    return decoder(image.embedding, image.pe, prompts, image.dense_prompt)


def predict(decoder: MaskDecoder, image: Image, prompts: Tensor, multimask_output: bool):
    """The official decoder's masks (N, M, 4h, 4w) and IoU predictions (N, M) of one image."""
    return decoder(image.embedding, image.pe, prompts, image.dense_prompt, multimask_output)


def official(decoder: MaskDecoder, image: Image, prompts: Tensor, mask_output: str) -> Decoded:
    """The official decoder of one image, and the mask tokens that leave its transformer."""
    seen: List[Tensor] = []
    hook = decoder.transformer.register_forward_hook(lambda *args: seen.append(args[-1][0]))
    masks, iou = predict(decoder, image, prompts, multimask_output=mask_output != 'single')
    hook.remove()
    tokens = seen[0][:, [1 + index for index in TOKENS_WANTED[mask_output]]]
    return flatten(masks, tokens, iou, mask_output)


def flatten(masks: Tensor, tokens: Tensor, iou: Tensor, mask_output: str) -> Decoded:
    """From M masks of each prompt (N, M, ...) to those that are wanted (1, N or N * M, ...)."""
    if mask_output == 'best':
        rows, best = torch.arange(len(iou)), iou.argmax(dim=1)
        return Decoded(*(x[rows, best][None] for x in (masks, tokens, iou)))
    return Decoded(*(x.flatten(0, 1)[None] for x in (masks, tokens, iou)))


class WithinPrompts(nn.Module):
    """SAM's attention in which the tokens of each of N prompts see only one another."""

    def __init__(self, attention: nn.Module, num_prompts: int) -> None:
        super().__init__()
        self.attention = attention
        self.num_prompts = num_prompts

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        groups = (x.unflatten(1, (self.num_prompts, -1)).flatten(0, 1) for x in (q, k, v))
        return self.attention(*groups).flatten(0, 1)[None]


def joint_reference(
    decoder: MaskDecoder,
    image: Image,
    prompts: Tensor,
    mask_output: str,
    carried: Sequence[int],
) -> Decoded:
    """The official transformer over the tokens of all prompts at once, for one image."""
    wanted = TOKENS_WANTED[mask_output]
    transformer = copy.deepcopy(decoder.transformer)
    transformer.layers[0].self_attn = WithinPrompts(transformer.layers[0].self_attn, len(prompts))
    outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight[list(carried)]])
    tokens = torch.cat([outputs.expand(len(prompts), -1, -1), prompts], dim=1)  # (N, G, D)
    queries, keys = transformer(
        image.embedding + image.dense_prompt, image.pe, tokens.flatten(0, 1)[None]
    )
    queries = queries.view_as(tokens)
    upscaled = decoder.output_upscaling(keys.transpose(1, 2).view_as(image.embedding))[0]
    mask_tokens = torch.stack([queries[:, 1 + carried.index(index)] for index in wanted], dim=1)
    filters = [
        decoder.output_hypernetworks_mlps[t](mask_tokens[:, i]) for i, t in enumerate(wanted)
    ]
    masks = torch.einsum('nmd,dyx->nmyx', torch.stack(filters, dim=1), upscaled)
    iou = decoder.iou_prediction_head(queries[:, 0])[:, list(wanted)]
    return flatten(masks, mask_tokens, iou, mask_output)


def gradient(output: Decoded, prompts: Tensor) -> Tensor:
    """Gradient of a random weighing of everything that comes out, with respect to ``prompts``."""
    weights = (torch.randn(x.shape, generator=generator(3)) for x in tensors(output))
    loss = sum((x * weight).sum() for x, weight in zip(tensors(output), weights))
    return torch.autograd.grad(loss, prompts)[0]


# Independent decoding


@pytest.mark.parametrize('kind', PROMPTS)
@pytest.mark.parametrize('mask_output', MASK_OUTPUTS)
def test_independent_equals_the_official_decoder(sam, build, image, kind, mask_output):
    prompts = prompts_of(sam, kind)
    found = decode(build(decoding='independent', mask_output=mask_output), image, prompts)
    assert_close(found, official(sam.mask_decoder, image, prompts, mask_output))


def test_best_takes_each_token_where_its_iou_is_highest(sam, build, image, prompts):
    best = decode(build(decoding='independent', mask_output='best'), image, prompts)
    masks, iou = predict(sam.mask_decoder, image, prompts, multimask_output=True)
    assert iou.argmax(dim=1).unique().tolist() == [0, 1, 2]
    tensors_are_close(best.quality[0], iou.max(dim=1).values)
    distances = (best.mask_logits[0, :, None] - masks).flatten(2).abs().amax(dim=2)  # (N, 3)
    assert torch.equal(distances < 1e-5, nn.functional.one_hot(iou.argmax(dim=1), 3).bool())


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('chunk_size', [1, 4, 6, 100])
def test_chunk_size_changes_nothing(sam, build, images, prompts, chunk_size, training):
    decoder = build(decoding='independent', mask_output='all', chunk_size=chunk_size)
    prompts = prompts.clone().requires_grad_(training)
    found = decode(decoder.train(training), images, prompts)
    for b in range(2):
        expected = official(sam.mask_decoder, images.only(b), prompts, 'all')
        assert_close(Decoded(*(x[b : b + 1] for x in tensors(found))), expected)


@pytest.mark.parametrize('chunk_size', [1, 4])
def test_chunks_of_prompts_that_differ_between_images(build, images, prompts, chunk_size):
    own = torch.stack([prompts, prompts.flip(0)])
    found = decode(build(decoding='independent', chunk_size=chunk_size), images, own)
    assert_close(found, decode(build(decoding='independent', chunk_size=100), images, own))


@pytest.mark.parametrize('chunk_size', [1, 4, 16])
@pytest.mark.parametrize('mask_output', MASK_OUTPUTS)
def test_independent_gradients_are_the_official_ones(
    sam, build, image, prompts, mask_output, chunk_size
):
    prompts = prompts.clone().requires_grad_()
    decoder = build(decoding='independent', mask_output=mask_output, chunk_size=chunk_size)
    found = gradient(decode(decoder.train(), image, prompts), prompts)
    expected = gradient(official(sam.mask_decoder, image, prompts, mask_output), prompts)
    assert (expected.abs().amax(dim=(1, 2)) > 0.1).all()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_chunks_are_decoded_again_in_the_backward_pass(build, image, prompts):
    decoder = build(decoding='independent', chunk_size=4)
    passes: List[Tuple[int, ...]] = []
    decoder.decoder.iou_prediction_head.register_forward_hook(
        lambda *args: passes.append(tuple(args[-1].shape[:1]))
    )
    decode(decoder, image, prompts)
    assert passes == [(4,), (2,)]
    prompts = prompts.clone().requires_grad_()
    with torch.no_grad():
        decode(decoder, image, prompts)
    assert passes == 2 * [(4,), (2,)]
    output = decode(decoder.train(), image, prompts)
    assert passes == 3 * [(4,), (2,)]
    gradient(output, prompts)
    assert sorted(passes) == 4 * [(2,)] + 4 * [(4,)]


def test_a_single_chunk_is_decoded_once(build, image, prompts):
    decoder = build(decoding='independent', chunk_size=len(prompts)).train()
    passes = []
    decoder.decoder.iou_prediction_head.register_forward_hook(lambda *args: passes.append(1))
    prompts = prompts.clone().requires_grad_()
    gradient(decode(decoder, image, prompts), prompts)
    assert len(passes) == 1


# Joint decoding


@pytest.mark.parametrize('kind', PROMPTS)
@pytest.mark.parametrize('mask_output', MASK_OUTPUTS)
@pytest.mark.parametrize('carry_all_tokens', [False, True])
def test_joint_equals_the_official_modules_in_one_pass(
    sam, build, image, kind, mask_output, carry_all_tokens
):
    prompts = prompts_of(sam, kind)
    decoder = build(mask_output=mask_output, carry_all_tokens=carry_all_tokens)
    carried = ALL_TOKENS if carry_all_tokens else TOKENS_WANTED[mask_output]
    expected = joint_reference(sam.mask_decoder, image, prompts, mask_output, carried)
    assert_close(decode(decoder, image, prompts), expected)


@pytest.mark.parametrize('mask_output', MASK_OUTPUTS)
def test_joint_gradients_are_those_of_the_official_modules(sam, build, image, prompts, mask_output):
    prompts = prompts.clone().requires_grad_()
    found = gradient(decode(build(mask_output=mask_output).train(), image, prompts), prompts)
    carried = TOKENS_WANTED[mask_output]
    expected = joint_reference(sam.mask_decoder, image, prompts, mask_output, carried)
    torch.testing.assert_close(found, gradient(expected, prompts), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('mask_output', MASK_OUTPUTS)
def test_joint_of_one_prompt_with_all_tokens_is_the_official_decoder(
    sam, build, image, prompts, mask_output
):
    joint = build(mask_output=mask_output, carry_all_tokens=True)
    independent = build(mask_output=mask_output, decoding='independent')
    for n in range(NUM_PROMPTS):
        prompt = prompts[n : n + 1]
        found = decode(joint, image, prompt)
        assert_close(found, decode(independent, image, prompt))
        assert_close(found, official(sam.mask_decoder, image, prompt, mask_output))


def test_joint_with_fewer_tokens_is_another_model(build, image, prompts):
    few, every = build(), build(carry_all_tokens=True)
    difference = decode(few, image, prompts[:1])[0] - decode(every, image, prompts[:1])[0]
    assert difference.abs().max() > 0.01


@pytest.mark.parametrize('mask_output', MASK_OUTPUTS)
def test_joint_of_many_prompts_is_another_model(build, image, prompts, mask_output):
    joint = decode(build(mask_output=mask_output, carry_all_tokens=True), image, prompts)
    independent = decode(build(mask_output=mask_output, decoding='independent'), image, prompts)
    for a, b in zip(tensors(joint), tensors(independent)):
        assert (a - b).abs().max() > 0.01


@pytest.mark.parametrize('decoding', DECODINGS)
@pytest.mark.parametrize('mask_output', MASK_OUTPUTS)
def test_permuted_prompts_give_permuted_masks(build, images, prompts, decoding, mask_output):
    decoder = build(decoding=decoding, mask_output=mask_output, chunk_size=4)
    permutation = torch.tensor([3, 5, 0, 1, 4, 2])
    straight = decode(decoder, images, prompts)
    permuted = decode(decoder, images, prompts[permutation])
    shape = (NUM_PROMPTS, decoder.masks_per_prompt)
    for a, b in zip(tensors(straight), tensors(permuted)):
        tensors_are_close(b.unflatten(1, shape), a.unflatten(1, shape)[:, permutation])
        assert (a - b).abs().max() > 0.01


# Several images


@pytest.mark.parametrize('decoding', DECODINGS)
@pytest.mark.parametrize('mask_output', MASK_OUTPUTS)
def test_images_of_a_batch_do_not_meet(build, images, prompts, decoding, mask_output):
    decoder = build(decoding=decoding, mask_output=mask_output)
    singly = [decode(decoder, images.only(b), prompts) for b in range(2)]
    assert_close(decode(decoder, images, prompts), stack_images(singly))
    assert (singly[0].mask_logits - singly[1].mask_logits).abs().max() > 0.01


@pytest.mark.parametrize('decoding', DECODINGS)
@pytest.mark.parametrize('mask_output', MASK_OUTPUTS)
def test_each_image_can_have_its_own_prompts(
    build, images, prompts_per_image, decoding, mask_output
):
    decoder = build(decoding=decoding, mask_output=mask_output, chunk_size=4)
    singly = [decode(decoder, images.only(b), prompts_per_image[b]) for b in range(2)]
    assert_close(decode(decoder, images, prompts_per_image), stack_images(singly))
    shared = decode(decoder, images, prompts_per_image[0])
    assert (shared.mask_logits[1] - singly[1].mask_logits[0]).abs().max() > 0.01


@pytest.mark.parametrize('decoding', DECODINGS)
def test_gradients_of_all_images_add_up(build, images, prompts, decoding):
    decoder = build(decoding=decoding, chunk_size=4).train()
    shared = prompts.clone().requires_grad_()
    own = prompts.expand(2, -1, -1, -1).clone().requires_grad_()
    together = gradient(decode(decoder, images, shared), shared)
    singly = gradient(decode(decoder, images, own), own)
    torch.testing.assert_close(together, singly.sum(dim=0), atol=1e-4, rtol=1e-4)
    assert (singly[0] - singly[1]).abs().max() > 0.1


# What comes out, and what may go in


@pytest.mark.parametrize('decoding', DECODINGS)
@pytest.mark.parametrize('carry_all_tokens', [False, True])
@pytest.mark.parametrize(('mask_output', 'per_prompt'), [('single', 1), ('best', 1), ('all', 3)])
def test_shapes(build, images, prompts, decoding, carry_all_tokens, mask_output, per_prompt):
    decoder = build(
        decoding=decoding, mask_output=mask_output, carry_all_tokens=carry_all_tokens, chunk_size=4
    )
    output = decode(decoder, images, prompts)
    assert decoder.masks_per_prompt == per_prompt
    assert output.mask_logits.shape == (2, NUM_PROMPTS * per_prompt, 48, 48)
    assert output.tokens.shape == (2, NUM_PROMPTS * per_prompt, 96)
    assert output.quality.shape == (2, NUM_PROMPTS * per_prompt)
    assert all(x.dtype == torch.float32 for x in tensors(output))


@pytest.mark.parametrize('decoding', DECODINGS)
def test_gradients_reach_the_prompts_and_no_weight(build, image, prompts, decoding):
    decoder = build(decoding=decoding, chunk_size=4).train()
    prompts = prompts.clone().requires_grad_()
    sum(x.square().sum() for x in tensors(decode(decoder, image, prompts))).backward()
    assert (prompts.grad.abs().amax(dim=-1) > 0).all()
    assert all(parameter.grad is None for parameter in decoder.parameters())
    assert len(list(decoder.parameters())) == len(list(decoder.decoder.parameters())) > 0


def test_weights_are_those_of_the_file_and_stay_frozen(sam, build):
    decoder = build()
    assert decoder.train() is decoder
    nn.Sequential(decoder).train()
    decoder.init_weights()
    assert not any(module.training for module in decoder.modules())
    assert not any(parameter.requires_grad for parameter in decoder.parameters())
    expected = sam.mask_decoder.state_dict()
    found = decoder.decoder.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_defaults_and_config(build, sam_file, image, prompts):
    config = dict(type='SAMMaskDecoder', variant='tiny', checkpoint=sam_file)
    decoder = MODELS.build(config)
    assert isinstance(decoder, SAMMaskDecoder)
    expected = build(decoding='joint', mask_output='single', carry_all_tokens=False)
    assert_close(decode(decoder, image, prompts), decode(expected, image, prompts))
    assert decoder.chunk_size == 'auto'


@pytest.mark.parametrize('decoding', DECODINGS)
def test_autocast_blurs_only_a_little(build, image, prompts, decoding):
    decoder = build(decoding=decoding, chunk_size=4)
    expected = decode(decoder, image, prompts)
    own = prompts.clone().requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = decode(decoder.train(), image, own)
    for a, b in zip(tensors(found), tensors(expected)):
        assert (a.float() - b).norm() < 0.03 * b.norm()
    assert torch.isfinite(gradient(found, own)).all()


@pytest.mark.parametrize(
    ('name', 'value', 'choices'),
    [
        ('decoding', 'parallel', "'joint', 'independent'"),
        ('mask_output', 'multi', "'single', 'best', 'all'"),
        ('chunk_size', 0, 'a positive integer'),
        ('chunk_size', -3, 'a positive integer'),
        ('chunk_size', 2.5, 'a positive integer'),
        ('chunk_size', '16', "'auto' or a positive integer"),
        ('chunk_size', 'all', "'auto' or a positive integer"),
        ('chunk_size', True, 'a positive integer'),
        ('chunk_size', None, 'a positive integer'),
    ],
)
def test_wrong_arguments_are_refused_before_the_file_is_read(name, value, choices):
    message = f'{name} must be .*{re.escape(choices)}.*got {re.escape(repr(value))}'
    with pytest.raises(ValueError, match=message):
        SAMMaskDecoder('tiny', 'absent.pth', **{name: value})


def test_wrong_files_and_variants_are_refused(sam_file, tmp_path):
    with pytest.raises(ValueError, match="unknown SAM variant 'vit_x'"):
        SAMMaskDecoder('vit_x')
    with pytest.raises(FileNotFoundError, match=r'absent\.pth.*does not exist'):
        SAMMaskDecoder('tiny', str(tmp_path / 'absent.pth'))
    with pytest.raises(CheckpointError, match="is of variant 'tiny': set variant='tiny'"):
        SAMMaskDecoder('vit_b', sam_file)


@pytest.mark.parametrize('decoding', ['joint', 'independent'])
@pytest.mark.parametrize('shape', [(0, 2, 96), (3, 4, 2, 96), (2, 96)])
def test_prompts_that_do_not_fit_are_refused(decoding, shape):
    decoder = SAMMaskDecoder('tiny', decoding=decoding)
    image = torch.zeros(2, 96, 12, 12)
    with pytest.raises(ValueError, match=r'\(2, N, T, D\) for 2 images') as error:
        decoder(image, image[:1], torch.zeros(shape), image[:1])
    assert str(shape) in str(error.value)
