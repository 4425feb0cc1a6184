"""The plain computation of SEEM, which the port is measured against, gives the official numbers."""

import pytest
import torch
import torch.nn.functional as F

from dev.benchmarks.plain_seem import Prompts, plain_decode, plain_encode, select_weights
from mmseg_ssprompt.models.seem.seem_variants import get_variant
from seem_files import make_input, make_weights, read_golden, read_keys

PREDICTOR = 'sem_seg_head.predictor.'
QUERIES = ('query_feat', 'query_embed')


@pytest.fixture(scope='module')
def weights():
    return make_weights(read_keys('tiny')[0])


def near(found, expected, bound):
    torch.testing.assert_close(found, expected, atol=bound, rtol=0)


def drawn(like, seed):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('images', ['a', 'b'])
def test_the_features(weights, images):
    golden, case = read_golden('case1_tiny')
    levels, mask_features = plain_encode(
        weights, make_input(case, images), get_variant('focal_tiny')
    )
    for number, level in enumerate(levels):
        near(level, golden[f'{images}.multi_scale.{number}'], 3e-5)
    near(mask_features, golden[f'{images}.mask_features'], 3e-5)


@pytest.mark.parametrize('images', ['a', 'b'])
@pytest.mark.parametrize('case', ['case1_tiny', 'case1_tiny_deform'])
def test_predictions_and_gradients(weights, case, images):
    """The decoder is the same with either pixel decoder."""
    golden, _ = read_golden(case)
    levels = [golden[f'{images}.multi_scale.{number}'] for number in range(3)]
    content, place = (
        weights[f'{PREDICTOR}{name}.weight'].clone().requires_grad_() for name in QUERIES
    )
    masks, classes, _ = plain_decode(
        *(weights, levels, golden[f'{images}.mask_features']), heads=4, content=content, place=place
    )
    logits = classes @ golden['text.embeddings'].t()
    near(masks, golden[f'{images}.pred_masks'], 3e-4)
    near(logits, golden[f'{images}.pred_logits'], 2e-5)
    ((masks * drawn(masks, 201)).sum() + (logits * drawn(logits, 202)).sum()).backward()
    for name, queries in zip(QUERIES, (content, place)):
        expected = golden[f'{images}.grad.{name}']
        near(queries.grad, expected, 1e-5 * expected.abs().max().item())


def read_points(feature, mask):
    """A map (1, D, h, w) at the pixels of a mask, from corner to corner: (P, D)."""
    points = (mask.nonzero() / torch.tensor(mask.shape)).flip(-1)
    seen = F.grid_sample(feature, (2 * points - 1)[None, None], align_corners=True)
    return seen[0, :, 0].t()


def make_tokens(weights, levels, *masks):
    """Tokens (1, 1, 3, P, D) of the pixels on and off an object."""
    tokens = []
    for number, level in enumerate(levels):
        source = level + weights['level_embed.weight'][number][:, None, None]
        seen = [
            read_points(source, mask) @ weights[f'mask_sptial_embed.{number}'] + sign
            for mask, sign in zip(masks, weights['pn_indicator.weight'])
        ]
        tokens.append(torch.cat(seen))
    return torch.stack(tokens)[None, None]


@torch.no_grad()
@pytest.mark.parametrize(('name', 'image'), [('clicks', 0), ('batch', 0), ('batch', 1)])
def test_clicks(weights, name, image):
    """Object queries, and the queries of each prompt: masks, captions and which one answers."""
    golden, case = read_golden('case4_spatial')
    seed = dict(clicks=401, batch=402)[name]
    shape = dict(clicks=(1, 3, 64, 96), batch=(2, 3, 64, 96))[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))[image : image + 1]
    levels, mask_features = plain_encode(weights, x, get_variant('focal_tiny'))
    ending = f'.{image}' if name == 'batch' else ''
    positive, negative = (golden[f'{name}.{kind}_mask{ending}'] for kind in ('pos', 'neg'))
    count = golden[f'{name}.prev_mask'].shape[1]
    rows = case['draws']['object queries copied to spatial queries'][str(count)]
    own = select_weights(weights, PREDICTOR)
    for number, masks in enumerate(zip(positive, negative)):
        copied = rows[3 * number : 3 * number + 3]
        prompts = Prompts(
            *(own[f'{query}.weight'][copied] for query in QUERIES), make_tokens(own, levels, *masks)
        )
        found, classes, embeddings = plain_decode(weights, levels, mask_features, prompts, heads=4)
        near(found[0, :11], golden[f'{name}.pred_masks'][image], 4e-3)
        near(found[0, 11:], golden[f'{name}.pred_smasks'][image, 3 * number : 3 * number + 3], 4e-3)
        fit = embeddings[0, 11:] @ read_points(mask_features, masks[0]).mean(dim=0)
        best = 11 + int(fit.argmax())
        near(found[0, best], golden[f'{name}.prev_mask'][image, number], 4e-3)
        logits = classes[0] @ golden['text.embeddings'].t()
        near(logits[best], golden[f'{name}.prompt_class_logits'][image, number], 2e-5)
        near(logits[:11], golden[f'{name}.pred_logits'][image], 2e-5)


@pytest.mark.slow
@torch.no_grad()
def test_real_size():
    golden, _ = read_golden('case_full_focalt_unicl_lang_v1')
    weights = make_weights(read_keys('focalt_unicl_lang_v1')[0])
    x = torch.randn(3, 256, 320, generator=torch.Generator().manual_seed(306))[None]
    levels, mask_features = plain_encode(weights, x, get_variant('focal_t'))
    near(mask_features[:, ::8, ::8, ::8], golden['mask_features_every_8th'], 1e-4)
    masks, classes, _ = plain_decode(weights, levels, mask_features, heads=8)
    near(classes @ golden['text.embeddings'].t(), golden['pred_logits'], 2e-5)
    near(masks[:, :, ::4, ::4], golden['pred_masks_every_4th'], 3.5e-3)
