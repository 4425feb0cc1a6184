"""One class against the rest: ``num_classes=1`` with ``rest_id``."""

import warnings
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.apis import inference_model, init_model
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from torch import Tensor

from mmseg_ssprompt.analysis.failures import analyse_image
from mmseg_ssprompt.analysis.oracle import predict_oracle_maps
from mmseg_ssprompt.analysis.segmentation import segment_image
from mmseg_ssprompt.datasets import DatasetError, relabel_dataset
from mmseg_ssprompt.datasets.few_shot_manifest import count_presence
from mmseg_ssprompt.evaluation import GroupedIoUMetric
from mmseg_ssprompt.label_ids import LabelIds, resolve_label_ids, with_rest
from mmseg_ssprompt.models.losses import MaskClassificationLoss
from mmseg_ssprompt.models.losses.matching import UnknownSegmentsError
from mmseg_ssprompt.prompt_files.open_vocabulary import with_class_names
from mmseg_ssprompt.segments import segments_of_label_maps
from own_photographs import draw_photograph, make_photographs, own_config, save
from tiny_model import build_tiny, random_images, samples_of, tiny_config, training_loss

NAMES = ('disc',)
#: rest_id, the number of the class, the number that is ignored
NUMBERS = [(0, 1, 255), (255, 0, 65535)]


def build(rest_id: int, **options: Any) -> Any:
    prompts = dict(dataset=None, class_names=NAMES)
    return build_tiny(num_classes=1, rest_id=rest_id, semantic_prompts=prompts, **options)


def build_linear(rest_id: int, **loss: Any) -> Any:
    config = tiny_config()
    config.model.decode_head = dict(
        type='LinearEmbeddingHead',
        in_channels=96,
        class_names=NAMES,
        rest_id=rest_id,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, **loss),
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(config.model)


# Numbers


@pytest.mark.parametrize(('rest_id', 'number', 'ignored'), NUMBERS)
def test_numbers(rest_id, number, ignored):
    ids = resolve_label_ids(1, rest_id=rest_id)
    assert (list(ids.classes), ids.ignore_index) == ([number], ignored)
    assert ids.channels == (rest_id, number)
    assert ids.dtype is np.uint8
    channels = torch.tensor([[0, 1]])
    assert ids.from_channels(channels).tolist() == [[rest_id, number]]
    labels = torch.tensor([rest_id, number, ignored, 7])
    assert ids.to_channels(labels).tolist() == [0, 1, ignored, ignored]
    assert ids.find_unknown(labels.numpy()).tolist() == [False, False, False, True]


def test_without_a_number_for_the_rest_it_is_refused():
    with pytest.raises(ValueError, match='Set decode_head.rest_id=0 .*rest_id=255 .* two classes'):
        build_tiny(num_classes=1, semantic_prompts=dict(dataset=None, class_names=NAMES))


@pytest.mark.parametrize('names', [NAMES, ('background', 'disc')])
@pytest.mark.parametrize('make', [build_tiny, build_linear])
def test_no_advice_is_printed_that_does_not_hold(names, make):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        if make is build_linear:
            build_linear(0)
        else:
            rest = dict(rest_id=0) if len(names) == 1 else {}
            prompts = dict(dataset=None, class_names=names)
            build_tiny(num_classes=len(names), semantic_prompts=prompts, **rest)
    texts = [str(warning.message) for warning in caught]
    assert not [text for text in texts if 'binary' in text or 'threshold' in text]


@pytest.mark.parametrize('option', ['out_channels', 'threshold'])
def test_what_mmseg_advises_is_refused(option):
    with pytest.raises(TypeError, match=f'unexpected keyword argument {option!r}'):
        build_tiny(**{option: 1})
    config = tiny_config().model
    settings = dict(in_channels=96, class_names=('a', 'b'), **{option: 1})
    config.decode_head = dict(type='LinearEmbeddingHead', **settings)
    with (
        DefaultScope.overwrite_default_scope('mmseg'),
        pytest.raises(TypeError, match=f'unexpected keyword argument {option!r}'),
    ):
        MODELS.build(config)


def test_the_number_of_classes_need_not_be_given():
    config = tiny_config()
    config.model.decode_head.pop('num_classes')
    with DefaultScope.overwrite_default_scope('mmseg'):
        assert MODELS.build(config.model).num_classes == 10


# Training


def losses_of(class_logits: Tensor, labels: Tensor, **numbers: int) -> dict:
    torch.manual_seed(0)
    loss = MaskClassificationLoss(1, num_points=64)
    masks = torch.stack([torch.where(labels == 1, 9.0, -9.0), torch.full(labels.shape, -9.0)], 1)
    return loss(class_logits, masks, segments_of_label_maps(labels, LabelIds(1, **numbers)))


def halves() -> Tensor:
    """One image, 1 on its left and 0 on its right: (1, 8, 8)."""
    return (torch.arange(8) < 4).long().expand(1, 8, 8)


def test_loss_by_hand():
    """Two prompts; the first has the mask of the class, and logit 2 for it."""
    logits = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    found = losses_of(logits, halves(), ignore_index=255, rest_id=0)
    matched, other = np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0))
    assert found['loss_cls'].item() == pytest.approx(2 * (matched + 0.1 * other) / 1.1, rel=1e-5)
    assert found['loss_mask'].item() == pytest.approx(5 * np.log1p(np.exp(-9.0)), rel=1e-2)


def test_both_ways_to_number_have_the_same_loss():
    logits = torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = halves()
    torch.manual_seed(0)
    masks = torch.randn(1, 2, 8, 8)
    found = []
    for rest_id, number, ignored in NUMBERS:
        torch.manual_seed(0)
        label_maps = torch.where(labels == 1, number, rest_id)
        segments = segments_of_label_maps(label_maps, LabelIds(1, ignored, rest_id))
        found.append(MaskClassificationLoss(1, num_points=64)(logits, masks, segments))
    assert found[0] == found[1]


@pytest.mark.parametrize(('rest_id', 'number', 'ignored'), NUMBERS)
def test_an_image_of_the_rest_alone_teaches_no_object(rest_id, number, ignored):
    logits = torch.zeros(1, 3, 2, requires_grad=True)
    ids = LabelIds(1, ignored, rest_id)
    segments = segments_of_label_maps(torch.full((1, 4, 4), rest_id), ids)
    losses = MaskClassificationLoss(1, num_points=16)(logits, torch.zeros(1, 3, 4, 4), segments)
    losses['loss_cls'].backward()
    assert (logits.grad[..., 1] < 0).all()
    assert losses['loss_mask'] == losses['loss_dice'] == 0


@pytest.mark.parametrize(('rest_id', 'number', 'ignored'), NUMBERS)
def test_other_numbers_are_refused_in_training(rest_id, number, ignored):
    with pytest.raises(UnknownSegmentsError, match=r'\[2, 9\]'):
        losses_of(torch.zeros(1, 2, 2), halves() * 7 + 2, ignore_index=ignored, rest_id=rest_id)
    expected = f'{number} .the class. and {rest_id} .the rest.'
    with pytest.raises(ValueError, match=rf'hold \[2\]: expected {expected}'):
        training_loss(build(rest_id), torch.full((2, 96, 96), 2))


@pytest.mark.parametrize('make', [build, build_linear])
@pytest.mark.parametrize(('rest_id', 'number', 'ignored'), NUMBERS)
def test_training_learns_the_class(make, rest_id, number, ignored):
    """Two photographs with padding below, as they are trained with."""
    model = make(rest_id).train()
    images, labels = torch.zeros(2, 3, 96, 96), torch.full((2, 96, 96), ignored)
    for i in range(2):
        image, shown = draw_photograph(4 * i, size=(80, 96))
        images[i, :, :80] = torch.from_numpy(image / 60.0 - 2).permute(2, 0, 1)
        labels[i, :80] = torch.where(torch.from_numpy(shown) == 1, number, rest_id)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.01)
    for _ in range(25):
        optimiser.zero_grad()
        loss = training_loss(model, labels, images)
        loss.backward()
        optimiser.step()
    (predicted, _) = model.eval()(images, samples_of(labels), mode='predict')
    found, truth = predicted.pred_sem_seg.data[0, :80], labels[0, :80]
    assert set(found.unique().tolist()) == {rest_id, number}
    both, either = (found == number) & (truth == number), (found == number) | (truth == number)
    assert both.sum() / either.sum() > 0.6


# Predicting


def fix_scores(model: Any, scores: Tensor) -> None:
    """Let the head say the same of all images: (1, 1, 24, 24), of the class."""
    model.decode_head.semantic_scores = lambda output: scores


@pytest.mark.parametrize('logits', [True, False])
@pytest.mark.parametrize(('rest_id', 'number', 'ignored'), NUMBERS)
def test_the_class_is_where_its_score_is_above_one_half(rest_id, number, ignored, logits):
    model = build(rest_id)
    model.test_cfg.logits = logits
    scores = torch.full((1, 1, 24, 24), 0.5)
    scores[..., :8, :] = 0.51
    scores[..., 12:, :] = 3.0  # scores may exceed 1
    scores[..., 16:, :] = 0.4
    fix_scores(model, scores)
    (sample,) = model(random_images(1), samples_of(torch.zeros(1, 96, 96)), mode='predict')
    found = sample.pred_sem_seg.data[0]
    assert found.shape == (96, 96)
    assert found.dtype == torch.int64
    columns = found[:, 0].tolist()
    assert set(columns[:30]) == {number}
    assert set(columns[36:46]) == {rest_id}  # of two equal scores the rest wins
    assert set(columns[50:62]) == {number}
    assert set(columns[68:]) == {rest_id}
    assert ('seg_logits' in sample) == logits
    if logits:
        torch.testing.assert_close(sample.seg_logits.data.sum(dim=0), torch.ones(96, 96))


@pytest.mark.parametrize(('rest_id', 'number', 'ignored'), NUMBERS)
def test_test_time_augmentation_takes_the_mean_of_the_scores(rest_id, number, ignored):
    config = Config.fromfile(Path(__file__).parents[2] / 'configs/ssprompt_sam-tiny_shapes.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(dict(config.tta_model, module=build(rest_id)))
    views = []
    for score in ([0.9, 0.3, 2.0], [0.2, 0.6, 0.1]):  # means 0.55, 0.45, 1.05
        scores = torch.tensor([[score]])
        view = SegDataSample(metainfo=dict(img_path='a.png', reduce_zero_label=False))
        view.seg_logits = PixelData(data=torch.cat([1 - scores, scores]))
        views.append(view)
    (merged,) = model.merge_preds([views])
    assert merged.pred_sem_seg.data.tolist() == [[[number, rest_id, number]]]


def test_test_time_augmentation_of_the_linear_baseline():
    """Its two scores are logits: mmseg's softmax holds for them."""
    config = Config.fromfile(Path(__file__).parents[2] / 'configs/ssprompt_sam-tiny_shapes.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(dict(config.tta_model, module=build_linear(255)))
    views = []
    for logits in ([[0.0], [9.0]], [[0.5], [0.0]], [[1.0], [0.0]]):
        view = SegDataSample(metainfo=dict(img_path='a.png'))
        view.seg_logits = PixelData(data=torch.tensor(logits)[..., None])
        views.append(view)
    probabilities = [1.0, 1 / (1 + np.exp(0.5)), 1 / (1 + np.e)]  # of the class
    expected = 0 if np.mean(probabilities) > 0.5 else 255
    assert model.merge_preds([views])[0].pred_sem_seg.data.tolist() == [[[expected]]]


# Measuring, writing, drawing


@pytest.mark.parametrize(('rest_id', 'number', 'ignored'), NUMBERS)
def test_figures_of_class_and_rest_by_hand(rest_id, number, ignored):
    metric = GroupedIoUMetric()
    metric.dataset_meta = dict(classes=NAMES, thing_classes=NAMES)
    truth = [number, number, number, rest_id, rest_id, ignored]
    found = [number, number, rest_id, number, rest_id, number]
    sample = dict(
        gt_sem_seg=dict(data=torch.tensor([[truth]])),
        pred_sem_seg=dict(data=torch.tensor([[found]])),
        img_path='a.png',
        label_ids=LabelIds(1, ignored, rest_id),
    )
    metric.process({}, [sample])
    metrics = metric.evaluate(1)
    assert metrics['IoU.disc'] == pytest.approx(50)
    assert metrics['IoU.rest'] == pytest.approx(100 / 3)
    assert metrics['mIoU'] == pytest.approx((50 + 100 / 3) / 2, abs=0.005)
    assert metrics['mIoU.things'] == pytest.approx(50)
    assert metrics['aAcc'] == pytest.approx(60)


@pytest.mark.parametrize(('rest_id', 'number', 'ignored'), NUMBERS)
@pytest.mark.parametrize('reduced', [False, True])
def test_files_have_the_numbers_of_the_data_set_s_own(tmp_path, rest_id, number, ignored, reduced):
    metric = GroupedIoUMetric(output_dir=str(tmp_path), format_only=True)
    metric.dataset_meta = dict(classes=NAMES)
    sample = dict(
        pred_sem_seg=dict(data=torch.tensor([[[number, rest_id]]])),
        img_path='a.png',
        label_ids=LabelIds(1, ignored, rest_id),
        reduce_zero_label=reduced and rest_id == 255,
    )
    metric.process({}, [sample])
    written = np.asarray(Image.open(tmp_path / 'a.png'))
    expected = [1, 0] if reduced and rest_id == 255 else [number, rest_id]
    assert written.tolist() == [expected]
    assert written.dtype == np.uint8


def test_names_and_colours_are_found_by_number():
    meta = dict(classes=NAMES, palette=[[1, 2, 3]])
    drawn = with_rest(meta, LabelIds(1, 255, 0))
    assert drawn['classes'] == ('rest', 'disc')
    assert drawn['palette'][1] == [1, 2, 3]
    drawn = with_rest(meta, LabelIds(1, 65535, 255))
    assert (drawn['classes'][0], drawn['classes'][255]) == ('disc', 'rest')
    assert len(drawn['classes']) == len(drawn['palette']) == 256
    assert with_rest(dict(classes=('rest',)), LabelIds(1, 255, 0))['classes'] == (
        'the rest',
        'rest',
    )
    assert with_rest(dict(classes=('a', 'b')), LabelIds(2, 255, None)) == dict(classes=('a', 'b'))


def test_tools_that_compare_classes_say_that_there_is_one():
    model = build(0)
    data = dict(inputs=torch.zeros(3, 96, 96), data_samples=samples_of(torch.zeros(1, 96, 96))[0])
    with pytest.raises(DatasetError, match='num_classes is 1'):
        predict_oracle_maps(model, data)
    image = segment_image(model, data)
    with pytest.raises(ValueError, match='the model has one class'):
        analyse_image(image, torch.zeros(96, 96, dtype=torch.long))


# Other class names


def ids_of(dataset: Any, labels: Path) -> List[int]:
    sample = dataset.get_data_info(0)
    for transform in dataset.pipeline.transforms:
        if 'Label' in type(transform).__name__:
            sample = transform(dict(sample, seg_map_path=str(labels)))
    return np.unique(sample['gt_seg_map']).tolist()


@pytest.mark.parametrize(
    ('name', 'expected', 'labelled'),
    [('crack', [0, 1], ['crack']), ('Background', [0, 1], ['Background']), ('dog', [255], [])],
)
def test_a_single_name_is_told_from_what_is_labelled_otherwise(tmp_path, name, expected, labelled):
    make_photographs(tmp_path, count=1)
    cfg = with_class_names(own_config(tmp_path, img_suffix='.png'), [name])
    head = cfg.model.decode_head
    assert (head.num_classes, head.rest_id) == (1, 0)
    config = dict(cfg.test_dataloader.dataset)
    config.pop('type')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = relabel_dataset(**config)
    assert dataset.metainfo['labelled_classes'] == labelled
    labels = tmp_path / 'ann' / '0.png'
    assert ids_of(dataset, labels) == expected
    values = np.asarray(Image.open(labels)).copy()
    values[0] = 255  # ignored before and after
    Image.fromarray(values).save(labels)
    assert ids_of(dataset, labels) == sorted({*expected, 255})


@pytest.mark.parametrize(('rest_id', 'number', 'ignored'), NUMBERS)
def test_names_for_a_config_of_one_class(tmp_path, rest_id, number, ignored):
    make_photographs(tmp_path, count=1, ids=(rest_id, number))
    source = own_config(tmp_path, NAMES, img_suffix='.png')
    source.model.decode_head.rest_id = rest_id
    for names, expected in ((['disc'], [0, 1]), (['disc', 'dog'], [0, 255])):
        config = dict(with_class_names(source, names).test_dataloader.dataset)
        config.pop('type')
        with DefaultScope.overwrite_default_scope('mmseg'):
            dataset = relabel_dataset(**config)
        assert ids_of(dataset, tmp_path / 'ann' / '0.png') == expected


def test_300_names_keep_their_numbers(tmp_path):
    make_photographs(tmp_path, count=1)
    names = [f'thing {i}' for i in range(300)]
    names[255], names[287] = 'background', 'crack'
    config = dict(
        with_class_names(own_config(tmp_path, img_suffix='.png'), names).test_dataloader.dataset
    )
    config.pop('type')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = relabel_dataset(**config)
    labels = tmp_path / 'ann' / '0.png'
    values = np.asarray(Image.open(labels)).copy()
    values[0] = 255  # void in the files, and no class there
    Image.fromarray(values).save(labels)
    assert ids_of(dataset, labels) == [255, 287, 65535]


# Few-shot draws


@pytest.mark.parametrize(('rest_id', 'number', 'ignored'), NUMBERS)
def test_images_of_the_class_are_counted(tmp_path, rest_id, number, ignored):
    make_photographs(tmp_path, count=3, ids=(rest_id, number))
    save(np.full((48, 64), rest_id, np.uint8), tmp_path / 'ann' / '1.png')
    config = own_config(tmp_path, NAMES, img_suffix='.png').test_dataloader.dataset
    with DefaultScope.overwrite_default_scope('mmseg'):
        with pytest.raises(DatasetError, match='expected metainfo=dict.classes=..., rest_id=...'):
            count_presence(DATASETS.build(config))
        config.metainfo.rest_id = rest_id
        presence = count_presence(DATASETS.build(config))
    assert presence.tolist() == [[True], [False], [True]]


# From files to files


@pytest.mark.parametrize(
    ('rest_id', 'files', 'reduced'),
    [(0, (0, 1), False), (255, (255, 0), False), (255, (0, 1), True)],
)
def test_from_files_to_files(tmp_path, rest_id, files, reduced):
    """The numbers of the rest and of the class in files; with reduce_zero_label they are others."""
    make_photographs(tmp_path, ids=files)
    cfg = own_config(tmp_path, NAMES, img_suffix='.png', reduce_zero_label=reduced)
    cfg.model.decode_head.rest_id = rest_id
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.metainfo.palette = [[9, 8, 7]]
    cfg.test_evaluator.output_dir = str(tmp_path / 'out')
    runner = Runner.from_cfg(cfg)
    runner.train()
    metrics = runner.test()
    assert {'mIoU', 'IoU.disc', 'IoU.rest'} <= metrics.keys()
    written = np.asarray(Image.open(tmp_path / 'out' / '0.png'))
    assert set(np.unique(written).tolist()) <= set(files)

    checkpoint = next((tmp_path / 'work').glob('iter_*.pth'))
    model = init_model(cfg, str(checkpoint), device='cpu')
    assert model.dataset_meta['classes'][rest_id] == 'rest'
    (number,) = model.label_ids.classes
    assert model.dataset_meta['palette'][number] == [9, 8, 7]
    sample = inference_model(model, str(tmp_path / 'img' / '0.png'))
    found = sample.pred_sem_seg.data[0].numpy() == number
    np.testing.assert_array_equal(found, written == files[1])
