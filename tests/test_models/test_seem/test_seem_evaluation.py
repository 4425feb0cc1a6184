"""From the pixels of a photograph to SEEM's scores and labels, through the segmentor."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_ssprompt.models.heads.outputs import semantic
from mmseg_ssprompt.models.seem.seem_variants import PIXEL_MEAN, PIXEL_STD
from mmseg_ssprompt.models.segmentors.resized_masks import resize_masks
from mmseg_ssprompt.models.segmentors.windows import check_test_cfg
from official_sam import randomised_sam
from seem_files import make_weights, read_golden, read_keys

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')

FROZEN = dict(fusion=dict(mode='default_only'))
SIZES = [(80, 118), (50, 50)]  # of the two photographs of case 6


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    """Weights of golden case 6, which has a logit scale of its own."""
    weights = make_weights(read_keys('tiny')[0])
    weights['sem_seg_head.predictor.lang_encoder.logit_scale'] = torch.tensor(4.0)
    path = tmp_path_factory.mktemp('seem') / 'case6.pt'
    torch.save(weights, path)
    return path


def build(file, names=('rock-merged', 'sheep', 'tv', 'wine glass'), **settings):
    seem = dict(variant='focal_tiny', checkpoint=str(file))
    head = dict(
        type='SSPromptHead',
        segmenter=dict(type='SEEMSegmenter', **seem),
        spatial_prompts=dict(type='SpatialPromptLearner', **FROZEN),
        semantic_prompts=dict(
            type='SemanticPromptLearner',
            class_names=names,
            text_encoder=dict(type='SEEMTextEncoder', **seem),
            **FROZEN,
        ),
        classifier=dict(type='BaseModelClassifier'),
        loss_decode=dict(type='MaskClassificationLoss', num_points=64),
        **settings.pop('head', {}),
    )
    model = dict(
        type='PromptSegmentor',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=PIXEL_MEAN,
            std=PIXEL_STD,
            bgr_to_rgb=True,
            size_divisor=32,
            pad_val=0,
            test_cfg=dict(size_divisor=32),
        ),
        backbone=dict(type='SEEMImageEncoder', **seem),
        decode_head=head,
        test_cfg=dict(mode='whole', **settings),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):  # fixtures of modules are built outside it
        return MODELS.build(model).eval()


@pytest.fixture(scope='module')
def model(file):
    """SEEM with its own prompts, which resizes masks."""
    return build(file, resize='masks')


@pytest.fixture(scope='module')
def model_of_objects(file):
    """The same with all outputs, and the settings of case 6."""
    return build(
        file,
        resize='masks',
        outputs=['semantic', 'panoptic', 'instances'],
        object_mask_threshold=0.4,
        overlap_threshold=0.4,
        max_per_image=20,
        head=dict(thing_classes=['sheep', 'tv', 'wine glass']),
    )


def load(number, **metainfo):
    """A photograph of case 6 as a data set gives it, resized: BGR, not padded."""
    image = read_golden('case6_evaluate')[0][f'image.{number}'].flip(0)
    meta = dict(ori_shape=SIZES[number], img_shape=tuple(image.shape[1:]), **metainfo)
    return dict(inputs=[image], data_samples=[SegDataSample(metainfo=meta)])


def predict(model, batch):
    data = model.data_preprocessor(batch)
    with torch.no_grad():
        return model(**data, mode='predict')[0]


def test_scores_and_labels_are_the_official_ones(model):
    golden, case = read_golden('case6_evaluate')
    found = predict(model, load(0))
    expected = golden['alone.0.sem_seg']
    torch.testing.assert_close(found.seg_logits.data, expected, atol=5e-5, rtol=0)
    counts = found.pred_sem_seg.data.flatten().bincount().tolist()
    assert counts == list(case['checks']['alone.0']['classes_of_pixels'].values())


def load_batch():
    """Both photographs, padded to one frame and normalised.

    mmseg's data preprocessor leaves this to the pipeline when several images are tested.
    """
    parts = [load(number) for number in (0, 1)]
    frame, images, samples = (64, 96), [], []
    mean, std = (torch.tensor(each)[:, None, None] for each in (PIXEL_MEAN, PIXEL_STD))
    for part in parts:
        (image,), (sample,) = part['inputs'], part['data_samples']
        below, right = (large - small for large, small in zip(frame, image.shape[1:]))
        images.append(F.pad((image.flip(0).float() - mean) / std, (0, right, 0, below)))
        sample.set_metainfo(dict(img_padding_size=[0, right, 0, below], pad_shape=frame))
        samples.append(sample)
    return torch.stack(images), samples


def test_photographs_are_padded_to_the_frame_of_a_batch(model):
    golden, case = read_golden('case6_evaluate')
    with torch.no_grad():
        found = model(*load_batch(), mode='predict')
    for number, sample in enumerate(found):
        expected = golden[f'batch.{number}.sem_seg']
        torch.testing.assert_close(sample.seg_logits.data, expected, atol=5e-5, rtol=0)
        counts = sample.pred_sem_seg.data.flatten().bincount().tolist()
        assert counts == list(case['checks'][f'batch.{number}']['classes_of_pixels'].values())


def check_instances(sample, which):
    """SEEM has no boxes."""
    golden, _ = read_golden('case6_evaluate')
    scores, labels, areas = (
        golden[f'{which}.instances.{part}'] for part in ('scores', 'pred_classes', 'mask_areas')
    )
    found = sample.pred_instances
    torch.testing.assert_close(found.scores, scores, atol=1e-5, rtol=0)
    assert torch.equal(found.labels, labels)
    assert torch.equal(found.masks.sum(dim=(1, 2)), areas)
    for mask, box in zip(found.masks, found.bboxes.int().tolist()):
        rows, columns = mask.nonzero().unbind(dim=1)
        ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box == [int(end) for end in ends]


def check_panoptic(sample, which):
    golden, case = read_golden('case6_evaluate')
    found = sample.pred_panoptic_seg
    assert torch.equal(found.data[0], golden[f'{which}.panoptic'])
    for info, expected in zip(found.segments_info, case['segments_info'][which], strict=True):
        assert {key: info[key] for key in expected} == expected
        assert info['area'] == (found.data == info['id']).sum()


def test_objects_are_the_official_ones(model_of_objects):
    found = predict(model_of_objects, load(0))
    check_panoptic(found, 'alone.0')
    check_instances(found, 'alone.0')


def test_objects_of_a_batch_are_the_official_ones(model_of_objects):
    """Rounding decides the panoptic map of the second: 0.400014 is above 0.4 by 1.4e-5."""
    with torch.no_grad():
        found = model_of_objects(*load_batch(), mode='predict')
    check_panoptic(found[0], 'batch.0')
    for number, sample in enumerate(found):
        check_instances(sample, f'batch.{number}')


def test_other_outputs_leave_the_label_map_as_it_is(model, model_of_objects):
    found, expected = (predict(each, load(0)) for each in (model_of_objects, model))
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
    assert torch.equal(found.seg_logits.data, expected.seg_logits.data)


def test_seem_predicts_no_iou(file):
    objects = dict(outputs=['instances'], predicted_iou=True, head=dict(thing_classes=['sheep']))
    with pytest.raises(ValueError, match="base model 'seem' predicts no IoU of its masks"):
        build(file, **objects)


def test_resizing_scores_is_another_result(file, model):
    """The default; on random weights, whose masks are noise, a quarter of the labels differ."""
    plain, official = predict(build(file), load(0)), predict(model, load(0))
    assert plain.seg_logits.data.shape == official.seg_logits.data.shape
    same = (plain.pred_sem_seg.data == official.pred_sem_seg.data).float().mean()
    assert 0.6 < same < 0.9


def test_where_masks_are_even_both_ways_are_one():
    masks = torch.tensor([2.0, -1.0, 0.5])[:, None, None].expand(3, 8, 12)
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    resize = partial(resize_masks, frame=(32, 48), metainfo=dict(ori_shape=(50, 90)))
    found = semantic(masks, logits, resize)
    expected = semantic(masks, logits)[:, :1, :1]
    torch.testing.assert_close(found, expected.expand_as(found), atol=1e-5, rtol=0)


def test_labels_alone_are_the_same(file, model):
    labels = build(file, resize='masks', logits=False)
    found = predict(labels, load(1))
    assert 'seg_logits' not in found
    assert torch.equal(found.pred_sem_seg.data, predict(model, load(1)).pred_sem_seg.data)


def test_one_class_and_the_rest(file):
    head = dict(num_classes=1, rest_id=0)
    found = predict(build(file, ('sheep',), resize='masks', head=head), load(0))
    rest, one = found.seg_logits.data
    torch.testing.assert_close(rest, 1 - one)
    assert torch.equal(found.pred_sem_seg.data[0], (one > rest).long())


@pytest.mark.parametrize('bicubic', [True, False])
@pytest.mark.parametrize(('direction', 'dim'), [('horizontal', -1), ('vertical', -2)])
def test_masks_of_flipped_images_are_flipped_back(direction, dim, bicubic):
    masks = torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(0))
    meta = dict(ori_shape=(64, 96))
    flipped = dict(meta, flip=True, flip_direction=direction)
    found = resize_masks(masks.flip(dim), (32, 48), flipped, bicubic)
    expected = resize_masks(masks, (32, 48), meta, bicubic)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_bilinearly_masks_are_resized_as_sam_does():
    """To the frame, without its padding, to the photograph: ``Sam.postprocess_masks``."""
    sam = randomised_sam('tiny')
    masks = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    expected = sam.postprocess_masks(masks, (72, 96), (50, 90))[:, 0]
    meta = dict(ori_shape=(50, 90), padding_size=[0, 0, 0, 24])
    found = resize_masks(masks[:, 0], (96, 96), meta, bicubic=False)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('count', [1, 8, 19])
def test_any_number_of_masks_a_few_at_a_time(count):
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(count, 8, 12, generator=generator)
    logits = torch.randn(count, 4, generator=generator)
    meta = dict(ori_shape=(50, 90), padding_size=[0, 3, 0, 2])
    resize = partial(resize_masks, frame=(32, 48), metainfo=meta)
    expected = semantic(resize(masks), logits)
    found = semantic(masks, logits, resize)
    assert found.shape == (3, 50, 90)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(resize='official'), "resize: expected 'scores' or 'masks', found 'official'"),
        (
            dict(resize='masks', mode='slide', crop_size=(64, 64), stride=(32, 32)),
            'windows have masks of their own',
        ),
    ],
)
def test_other_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        check_test_cfg(settings, None)


def test_a_head_without_masks_is_refused(file):
    config = dict(
        type='PromptSegmentor',
        backbone=dict(type='SEEMImageEncoder', variant='focal_tiny', checkpoint=str(file)),
        decode_head=dict(
            type='LinearEmbeddingHead',
            in_channels=32,
            num_classes=4,
            class_names=['sky', 'sea', 'sand', 'dog'],
            loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
        ),
        test_cfg=dict(mode='whole', resize='masks'),
    )
    with pytest.raises(ValueError, match='a head with masks, SSPromptHead, found LinearEmb'):
        MODELS.build(config)
