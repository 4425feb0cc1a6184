"""Panoptic maps and instances of a model: at the size of the photograph, and refused in words."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_ssprompt.models.heads.outputs import instances, panoptic
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput
from mmseg_ssprompt.models.segmentors.output_settings import OUTPUTS
from mmseg_ssprompt.models.segmentors.resized_masks import resize_masks
from tiny_model import NUM_CLASSES, build_tiny, random_images, tiny_config

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')

TESTS = Path(__file__).resolve().parents[2]
#: Low, because prompts that were not trained are sure of nothing.
LOW = dict(object_mask_threshold=0.05, overlap_threshold=0.1)
META = dict(ori_shape=(50, 90), img_shape=(72, 96), img_padding_size=[0, 0, 0, 24])
META['pad_shape'] = (96, 96)


def build(outputs: Any = OUTPUTS, head: Any = None, **test_cfg: Any) -> nn.Module:
    config = tiny_config()
    config.model.decode_head.update(head or {})
    config.model.test_cfg.update(outputs=outputs, **{**LOW, **test_cfg})
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(config.model).eval()


def predict(model: nn.Module, images: Tensor, **meta: Any) -> List[SegDataSample]:
    samples = [SegDataSample(metainfo={**META, **meta}) for _ in images]
    with torch.no_grad():
        return model(images, samples, mode='predict')


def fix_output(model: nn.Module, output: HeadOutput) -> None:
    """Let the head say the same of all images."""
    model.decode_head.forward = lambda inputs: output


def random_output(images: int = 1, prompts: int = 10) -> HeadOutput:
    generator = torch.Generator().manual_seed(0)
    coarse = 5 * torch.randn(images, prompts, 3, 4, generator=generator)
    masks = nn.functional.interpolate(coarse, size=(24, 24), mode='bilinear')
    logits = 3 * torch.randn(images, prompts, NUM_CLASSES + 1, generator=generator)
    return HeadOutput(masks, logits, torch.rand(images, prompts, generator=generator))


def same(found: SegDataSample, expected: SegDataSample) -> bool:
    """Whether two samples have the same objects."""
    pairs = [
        (found.pred_panoptic_seg.data, expected.pred_panoptic_seg.data),
        *(
            (found.pred_instances[part], expected.pred_instances[part])
            for part in ('labels', 'scores', 'masks', 'bboxes')
        ),
    ]
    infos = [each.pred_panoptic_seg.metainfo['segments_info'] for each in (found, expected)]
    return infos[0] == infos[1] and all(torch.equal(*pair) for pair in pairs)


def test_all_outputs_have_the_size_of_the_photograph():
    (first, _) = predict(build(), random_images())
    assert first.pred_sem_seg.data.shape == first.pred_panoptic_seg.data.shape == (1, 50, 90)
    assert first.pred_panoptic_seg.data.dtype == torch.int32
    found = first.pred_instances
    assert found.masks.shape == (len(found), 50, 90) and found.masks.dtype == torch.bool
    assert found.bboxes.shape == (len(found), 4)
    infos = first.pred_panoptic_seg.metainfo['segments_info']
    assert infos and set(infos[0]) == {'id', 'category_id', 'isthing', 'area', 'score'}


@pytest.mark.parametrize('resize', ['scores', 'masks'])
def test_they_are_the_functions_of_masks_that_are_resized(resize):
    """Bilinearly, as SAM resizes masks, or as SEEM does."""
    model, output = build(resize=resize), random_output(2)
    fix_output(model, output)
    for number, sample in enumerate(predict(model, random_images())):
        masks = resize_masks(output.mask_logits[number], (96, 96), META, bicubic=resize == 'masks')
        logits, things = output.class_logits[number], model.decode_head.things
        expected = panoptic(masks, logits, things, 0.05, 0.1)
        assert torch.equal(sample.pred_panoptic_seg.data, expected.data)
        assert sample.pred_panoptic_seg.metainfo['segments_info'] == expected.segments_info
        objects = instances(masks, logits, things)
        torch.testing.assert_close(sample.pred_instances.scores, objects.scores)
        assert torch.equal(sample.pred_instances.masks, objects.masks)


@pytest.mark.parametrize('logits', [True, False])
@pytest.mark.parametrize('resize', ['scores', 'masks'])
def test_the_label_map_is_that_of_a_model_without_other_outputs(logits, resize):
    images = random_images()
    settings = dict(logits=logits, resize=resize)
    alone, with_others = (build(each, **settings) for each in (['semantic'], OUTPUTS))
    for found, expected in zip(predict(with_others, images), predict(alone, images)):
        assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
        assert ('seg_logits' in found) == ('seg_logits' in expected) == logits
        if logits:
            assert torch.equal(found.seg_logits.data, expected.seg_logits.data)
        assert 'pred_instances' not in expected and 'pred_panoptic_seg' not in expected


@pytest.mark.parametrize('outputs', [['panoptic'], ('instances',)])
def test_what_is_not_asked_for_is_not_made(outputs):
    (sample, _) = predict(build(outputs), random_images())
    assert 'pred_sem_seg' not in sample and 'seg_logits' not in sample
    assert ('pred_panoptic_seg' in sample) == ('panoptic' in outputs)
    assert ('pred_instances' in sample) == ('instances' in outputs)


def test_an_image_alone_and_in_a_batch_have_the_same_objects():
    model, output = build(), random_output(2)
    fix_output(model, output)
    batch = predict(model, random_images(2))
    for number, expected in enumerate(batch):
        fix_output(model, HeadOutput(*(part[number : number + 1] for part in output)))
        (found,) = predict(model, random_images(1))
        assert same(found, expected)


@pytest.mark.parametrize(('direction', 'dim'), [('horizontal', -1), ('vertical', -2)])
def test_flipped_images_have_the_objects_of_the_photograph(direction, dim):
    model, output = build(), random_output()
    fix_output(model, output)
    whole = dict(img_padding_size=[0, 0, 0, 0], img_shape=(96, 96))
    (expected,) = predict(model, random_images(1), **whole)
    fix_output(model, output._replace(mask_logits=output.mask_logits.flip(dim)))
    (found,) = predict(model, random_images(1), flip=True, flip_direction=direction, **whole)
    for part in ('labels', 'masks'):
        assert torch.equal(found.pred_instances[part], expected.pred_instances[part])
    assert torch.equal(found.pred_panoptic_seg.data, expected.pred_panoptic_seg.data)
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)


def test_images_without_samples():
    """As mmseg: what comes in is taken for the photograph."""
    model = build()
    with torch.no_grad():
        (found, _) = model(random_images(), mode='predict')
    assert found.pred_panoptic_seg.data.shape == (1, 96, 96)
    assert found.pred_sem_seg.data.shape == (1, 96, 96)


def test_predicted_ious_are_part_of_scores_where_they_are_asked_for():
    output = random_output()
    scores = []
    for asked in (False, True):
        model = build(['instances'], predicted_iou=asked)
        fix_output(model, output)
        scores.append(predict(model, random_images(1))[0].pred_instances.scores)
    assert scores[0].sum() > scores[1].sum() > 0
    output = output._replace(quality=torch.full_like(output.quality, 0.25))
    fix_output(model, output)
    rated = predict(model, random_images(1))[0].pred_instances.scores
    torch.testing.assert_close(rated, scores[0] / 4)


def test_sam_s_quality_reaches_the_outputs():
    with torch.no_grad():
        model = build()
        output = model(random_images(), mode='tensor')
        features = model.extract_feat(random_images())
        head = model.decode_head
        decoded = head.segmenter.decode(features, head.spatial_prompts(head.segmenter, features))
    assert output.quality.shape == output.mask_logits.shape[:2]
    assert torch.equal(output.quality, decoded.quality)


def test_most_objects_of_an_image():
    model = build(max_per_image=3)
    fix_output(model, random_output())
    assert len(predict(model, random_images(1))[0].pred_instances) <= 3


def test_one_class_and_the_rest():
    """The class is 0 among objects, whatever its number is in label maps."""
    prompts = dict(dataset=None, class_names=('disc',))
    head = build_tiny(num_classes=1, rest_id=0, semantic_prompts=prompts).decode_head
    assert head.things is None
    config = tiny_config(num_classes=1, rest_id=0, semantic_prompts=prompts, thing_classes=['disc'])
    config.model.test_cfg.update(outputs=OUTPUTS, **LOW)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model).eval()
    output = random_output()
    fix_output(model, output._replace(class_logits=output.class_logits[..., :2]))
    (found,) = predict(model, random_images(1))
    assert set(found.pred_instances.labels.tolist()) == {0}
    infos = found.pred_panoptic_seg.metainfo['segments_info']
    assert infos and all(info['category_id'] == 0 and info['isthing'] for info in infos)
    assert set(found.pred_sem_seg.data.unique().tolist()) <= {0, 1}


def test_embedded_samples_have_the_same_objects():
    model, images = build(), random_images()
    config = tiny_config()
    config.model.test_cfg.update(outputs=OUTPUTS, **LOW)
    encoder = config.model.backbone
    config.model.backbone = dict(type='PrecomputedFeatures', encoder=encoder)
    config.model.data_preprocessor = dict(type='EmbeddingPreProcessor')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        cached = MODELS.build(config.model).eval()
    cached.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        embedded = model.extract_feat(images).named()
    for found, expected in zip(
        *(predict_of(each, x) for each, x in ((cached, embedded), (model, images)))
    ):
        assert same(found, expected)


def predict_of(model: nn.Module, inputs: Any) -> List[SegDataSample]:
    samples = [SegDataSample(metainfo=META) for _ in range(2)]
    with torch.no_grad():
        return model(inputs, samples, mode='predict')


# Settings


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(outputs='panoptic'), "outputs: expected one or several of .*found 'panoptic'"),
        (dict(outputs=[]), r'outputs: expected one or several of .*found \[\]'),
        (dict(outputs=['instance']), r"outputs: .*'instances'\), found \['instance'\]"),
        (dict(outputs=['semantic'] * 2), r"outputs: .*found \['semantic', 'semantic'\]"),
        (dict(outputs=None), 'outputs: .*found None'),
        (dict(object_mask_threshold=1.5), 'object_mask_threshold: .* from 0 to 1, found 1.5'),
        (dict(overlap_threshold='0.8'), "overlap_threshold: .* from 0 to 1, found '0.8'"),
        (dict(max_per_image=0), 'max_per_image: expected a positive integer, found 0'),
        (dict(max_per_image=10.0), 'max_per_image: expected a positive integer, found 10.0'),
        (dict(predicted_iou=1), 'predicted_iou: expected True or False, found 1'),
        (
            dict(mode='slide', crop_size=(96, 96), stride=(64, 64)),
            r"\['panoptic', 'instances'\], but its mode is 'slide': each window has masks of its o",
        ),
    ],
)
def test_other_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_things_are_those_of_the_data_set():
    assert build().decode_head.things == tuple(range(6))


def test_things_of_other_classes_have_to_be_named():
    prompts = dict(dataset=None, class_names=('rock', 'sheep', 'sea'))
    config = tiny_config(num_classes=3, semantic_prompts=prompts)
    config.model.test_cfg.outputs = ['instances']
    with (
        DefaultScope.overwrite_default_scope('mmseg'),
        pytest.raises(
            ValueError, match=r"thing_classes to their names, .*\['rock', 'sheep', 'sea'"
        ),
    ):
        MODELS.build(config.model)
    config.model.decode_head.thing_classes = ['sheep', 'rock']
    with DefaultScope.overwrite_default_scope('mmseg'):
        assert MODELS.build(config.model).decode_head.things == (0, 1)


@pytest.mark.parametrize('names', [['cow'], 'disc', ['disc', 'cow']])
def test_things_that_are_no_classes(names):
    with pytest.raises(ValueError, match='thing_classes: expected a list of class names'):
        build_tiny(thing_classes=names)


def test_heads_without_masks_find_no_objects():
    config = tiny_config()
    config.model.decode_head = dict(
        type='LinearEmbeddingHead', in_channels=96, class_names=('a', 'b')
    )
    config.model.test_cfg.outputs = ['semantic', 'panoptic']
    with (
        DefaultScope.overwrite_default_scope('mmseg'),
        pytest.raises(ValueError, match=r"asks for \['panoptic'\]: expected .*found LinearEmb"),
    ):
        MODELS.build(config.model)


def test_views_of_test_time_augmentation_have_no_common_objects():
    config = tiny_config().model
    config.test_cfg.outputs = ['panoptic']
    with (
        DefaultScope.overwrite_default_scope('mmseg'),
        pytest.raises(ValueError, match=r"expected \('semantic',\) with test-time aug"),
    ):
        MODELS.build(dict(type='PromptTTAModel', module=config))


PEAK = """
import sys
import torch
from mmengine.registry import DefaultScope
from mmseg.structures import SegDataSample
from mmseg_ssprompt.analysis.complexity.measuring import measure_peak
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput
from mmseg_ssprompt.models.segmentors.output_settings import OUTPUTS
from mmseg.registry import MODELS
from tiny_model import tiny_config

names = [f'class {number}' for number in range(150)]
prompts = dict(dataset=None, class_names=names)
config = tiny_config(num_classes=150, semantic_prompts=prompts, thing_classes=names[:100])
settings = dict(outputs=OUTPUTS, resize=sys.argv[1], logits=False, object_mask_threshold=0.0)
config.model.test_cfg.update(**settings, overlap_threshold=0.0)
with DefaultScope.overwrite_default_scope('mmseg'):
    model = MODELS.build(config.model).eval()
masks = 5 * torch.nn.functional.interpolate(torch.randn(1, 100, 16, 16), size=(256, 256))
logits = torch.randn(1, 100, 151)
logits[..., :100] += 3  # all are things, the most that there can be
model.decode_head.forward = lambda inputs: HeadOutput(masks, logits, None)
model.extract_feat = lambda inputs: None
meta = dict(ori_shape=(1024, 2048), img_shape=(512, 1024), pad_shape=(1024, 1024))
meta['img_padding_size'] = [0, 0, 0, 512]
sample = SegDataSample(metainfo=meta)
with torch.no_grad():
    run = lambda: model(torch.zeros(1, 3, 8, 8), [sample], mode='predict')
    peak = measure_peak(run, torch.device('cpu'))
print(peak, len(sample.pred_instances), sample.pred_instances.masks.shape[1:].numel())
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')
@pytest.mark.parametrize('resize', ['scores', 'masks'])
def test_100_masks_of_2048_x_1024_take_less_than_2_gb(resize, tmp_path):
    """All three outputs, for 150 classes; 100 masks in float32 would take 0.8 GB alone."""
    (tmp_path / 'peak.py').write_text(PEAK)
    environment = {
        **os.environ,
        'MALLOC_MMAP_THRESHOLD_': '1000000',
        'PYTHONPATH': os.pathsep.join([str(TESTS), os.environ.get('PYTHONPATH', '')]),
    }
    done = subprocess.run(
        [sys.executable, 'peak.py', resize],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    peak, objects, pixels = map(float, done.stdout.split()[-3:])
    assert (objects, pixels) == (100, 1024 * 2048)
    assert 0.2 < peak < 2.0  # the masks of instances are 0.2 GB
