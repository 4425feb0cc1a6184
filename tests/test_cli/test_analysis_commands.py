"""The commands for interpretation, on small runs: what they write agrees with the model."""

import json
import math
from pathlib import Path
from typing import Any, Dict

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS, METRICS, MODELS

from commands import run_here
from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.miniature.shapes_world import get_world
from mmseg_ssprompt.models.segmentors.prompt_segmentor import PromptStateError
from trees import MMSEG_LAYOUT, make_photograph_tree

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
SHAPES = CONFIGS / 'ssprompt_sam-tiny_shapes.py'
CAMVID = MMSEG_LAYOUT
FEW = 'test_dataloader.dataset.num_images=3'


@pytest.fixture
def run(tmp_path, capsys):
    """Run a command in this process, and return its JSON; figures must be there."""

    def run_tool(name: str, *args: Any) -> Dict[str, Any]:
        out_dir = tmp_path / 'out'
        arguments = [*args[:2], '--out-dir', out_dir, *args[2:]]
        run_here(name, *(part for part in arguments if part is not None))
        paths = [Path(line) for line in capsys.readouterr().out.splitlines() if '/' in line]
        paths = [path for path in paths if path.parent == out_dir]
        assert {path.suffix for path in paths} == {'.png', '.json'}
        for path in paths[:-1]:
            assert cv2.imread(str(path)) is not None
        return json.loads(paths[-1].read_text())

    return run_tool


def save_checkpoint(config: Path, path: Path, **changes: torch.Tensor) -> Path:
    """A checkpoint of the initial prompts with some tensors changed."""
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    state = model.without_frozen(model.state_dict())
    for key, value in changes.items():
        assert state[f'decode_head.{key}'].shape == value.shape
        state[f'decode_head.{key}'] = value
    meta = dict(dataset_meta=dict(classes=['a'], palette=[[0, 0, 0]]))
    torch.save(dict(state_dict=state, meta=meta), path)
    return path


def test_explain_learned_prompts(run, tmp_path):
    model = MODELS.build(Config.fromfile(SHAPES).model)
    semantic = model.decode_head.semantic_prompts.fusion.default
    spatial = model.decode_head.spatial_prompts.fusion.default
    weights = torch.linspace(-1, 1, 10)
    learned = semantic.clone()
    learned[0] = semantic[6]  # the ball became a sky, with W = sigmoid(-1)
    checkpoint = save_checkpoint(
        SHAPES,
        tmp_path / 'a.pth',
        **{
            'semantic_prompts.fusion.weight_logit': weights,
            'semantic_prompts.fusion.learned': learned,
            'spatial_prompts.fusion.learned': 1.5 * spatial,
        },
    )
    words = tmp_path / 'words.txt'
    words.write_text('mountain\nsky\n')
    report = run('explain', SHAPES, checkpoint, '--words', words)

    classes = report['semantic']['classes']
    assert [c['weight'] for c in classes] == pytest.approx(weights.sigmoid().tolist())
    assert [c['group'] for c in classes] == 6 * ['things'] + 4 * ['stuff']
    mean = report['semantic']['weight_by_group']['stuff']['mean']
    assert mean == pytest.approx(weights[6:].sigmoid().mean().item())
    w = torch.tensor(-1.0).sigmoid()
    mixture = torch.nn.functional.normalize(w * semantic[6] + (1 - w) * semantic[0], dim=0)
    ball = classes[0]
    assert ball['cosine_to_default'] == pytest.approx(float(mixture @ semantic[0]), abs=1e-5)
    sky = next(word for word in ball['nearest_words'] if word['word'] == 'sky')
    assert sky['cosine'] == pytest.approx(float(mixture @ semantic[6]), abs=1e-5)
    assert ball['baseline']['words']['mean'] > 0
    assert classes[1]['baseline'] is None  # whatever its weight, it has not turned
    assert report['semantic']['vocabulary_size'] == 11  # mountain and the ten classes

    prompts = report['spatial']['prompts']
    assert len(prompts) == 64
    assert prompts[9]['drift'] == pytest.approx(0.25)  # half of 0.5
    assert (prompts[9]['default']['x'], prompts[9]['default']['y_pixels']) == (1.5 / 8, 18)
    assert report['spatial']['candidate_spacing_pixels'] == 2


def test_explain_handcrafted_prompts(run):
    report = run('explain', CONFIGS / 'ssprompt_sam-tiny_shapes_zero-shot.py', None)
    assert report['checkpoint'] is None
    assert report['semantic']['weight_says'].startswith('W is 0 by definition')
    assert [c['weight'] for c in report['semantic']['classes']] == 10 * [0]
    assert all(c['baseline'] is None for c in report['semantic']['classes'])
    assert 'valentine' in [
        word['word'] for word in report['semantic']['classes'][1]['nearest_words']
    ]
    assert report['spatial']['summary']['learned']['share_displaced'] == 0


def test_explain_coordinates(run, tmp_path):
    config = CONFIGS / 'ablations' / 'coordinates_sam-tiny_shapes.py'
    start = MODELS.build(Config.fromfile(config).model).decode_head.spatial_prompts.coordinates
    moved = start.detach() + torch.tensor([0.03, -0.04])
    checkpoint = save_checkpoint(
        config, tmp_path / 'a.pth', **{'spatial_prompts.coordinates': moved}
    )
    spatial = run('explain', config, checkpoint)['spatial']
    assert spatial['prompts'][5]['displacement_pixels'] == pytest.approx(0.05 * 96, abs=1e-3)
    assert spatial['prompts'][5]['weight'] is None
    assert spatial['weight_says'].startswith('there is no W')


def test_explain_context_prompts(run):
    semantic = run('explain', CONFIGS / 'ablations' / 'coop_sam-tiny_shapes.py', None)['semantic']
    nearest = [words[0] for words in semantic['context_tokens']['contexts'][0]]
    assert [word['token'] for word in nearest] == ['a', 'photo', 'of', 'a']
    assert max(word['distance'] for word in nearest) < 1e-2
    assert semantic['weight_by_group'] is None
    assert semantic['classes'][0]['cosine_to_default'] == pytest.approx(1, abs=1e-4)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    """In another folder, without a checkpoint."""
    monkeypatch.chdir(tmp_path)
    run_here('masks', SHAPES, '--out-dir', 'new/out', '--device', 'cpu', '--cfg-options', FEW)
    printed, logged = capsys.readouterr()
    assert printed.splitlines()[-2:] == ['new/out/masks.png', 'new/out/masks.json']
    assert 'NO CHECKPOINT' in printed + logged
    report = json.loads((tmp_path / 'new/out/masks.json').read_text())
    assert report['num_images'] == 3
    assert report['masks'][9]['points'] == [[1.5 / 8, 1.5 / 8]]


class OwnSpatialPrompts(torch.nn.Module):
    """A learner from outside, with arguments and parameters of its own."""

    def __init__(self, segmenter, count):
        super().__init__()
        xy = torch.linspace(0.2, 0.8, count)[:, None].expand(-1, 2)
        self.tokens = torch.nn.Parameter(segmenter.encode_points(xy).detach().clone())
        self.num_prompts = count

    def forward(self, segmenter, features=None):
        return self.tokens


class OwnSemanticPrompts(torch.nn.Module):
    """The same for class names, without a text encoder."""

    embed_dims = 64

    def __init__(self, class_names):
        super().__init__()
        self.class_names = class_names
        self.rows = torch.nn.Parameter(torch.eye(len(class_names), 64))

    def forward(self):
        return self.rows


@pytest.fixture
def own_prompts(tmp_path):
    """A config with learners from outside."""
    file = tmp_path / 'config.py'

    def write(*sides: str) -> Path:
        names = get_world('downstream').classes
        settings = dict(
            spatial="dict(_delete_=True, type='OwnSpatialPrompts', count=5)",
            semantic=f"dict(_delete_=True, type='OwnSemanticPrompts', class_names={names!r})",
        )
        text = ', '.join(f'{side}_prompts={settings[side]}' for side in sides)
        file.write_text(f'_base_ = [{str(SHAPES)!r}]\nmodel = dict(decode_head=dict({text}))\n')
        return file

    own = (OwnSpatialPrompts, OwnSemanticPrompts)
    for each in own:
        MODELS.register_module(module=each)
    yield write
    for each in own:
        del MODELS._module_dict[each.__name__]


def test_learners_from_outside_are_mapped(run, own_prompts):
    report = run('masks', own_prompts('spatial', 'semantic'), None, '--cfg-options', FEW)
    assert (report['num_prompts'], len(report['masks'])) == (5, 5)
    assert [mask['points'] for mask in report['masks']] == [[]] * 5


@pytest.mark.parametrize(('side', 'other'), [('spatial', 'semantic'), ('semantic', 'spatial')])
def test_a_learner_from_outside_is_left_out_of_what_is_explained(run, own_prompts, side, other):
    report = run('explain', own_prompts(side), None)
    assert report[side]['learner'] == f'Own{side.capitalize()}Prompts'
    assert set(report[side]) == {'learner', 'left_out'}
    assert len(report[other]['weight_says']) > 0


def test_a_learner_that_does_not_say_how_many_prompts_it_has(own_prompts):
    cfg = Config.fromfile(own_prompts('spatial'))
    MODELS.build(cfg.model)

    class Bare(OwnSpatialPrompts):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            del self.num_prompts

    cfg.model.decode_head.spatial_prompts.type = Bare
    with pytest.raises(ValueError, match='expected a learner with num_prompts.*found Bare'):
        MODELS.build(cfg.model)


def test_two_learners_from_outside_are_not_explained(run, own_prompts):
    with pytest.raises(ValueError, match=r'expected prompts that can be explained.*OwnSpatial'):
        run('explain', own_prompts('spatial', 'semantic'), None)


def test_prompts_of_another_base_model(run):
    """SEEM's own queries have no places, and its prompt encoder is not looked up."""
    config = CONFIGS / 'ssprompt_seem-tiny_shapes_zero-shot.py'
    report = run('explain', config, None)
    assert 'of SEEM' in report['spatial']['left_out']
    assert len(report['semantic']['classes']) == 10
    masks = run('masks', config, None, '--overwrite', '--cfg-options', FEW)['masks']
    assert all(mask['points'] == [] for mask in masks)


@pytest.fixture
def camvid(tmp_path, monkeypatch) -> Path:
    """Four random pictures of 36 x 48 pixels as CamVid."""
    monkeypatch.chdir(tmp_path)
    make_photograph_tree(tmp_path / 'data' / 'photographs')
    return CAMVID


def test_map_masks(run, camvid):
    report = run('masks', camvid, None, '--split', 'val')
    masks = report['masks']
    assert (report['num_images'], len(masks), report['split']) == (4, 64, 'val')
    assert sum(mask['won_share'] for mask in masks) == pytest.approx(1)
    assert report['never_winning'] == sum(mask['won_class'] is None for mask in masks)
    assert all(y < 0.75 for mask in masks for _, y in mask['points'])
    labels = {*Config.fromfile(camvid).metainfo.classes, 'no object'}
    assert {mask['label'] for mask in masks} <= labels


def test_map_three_masks_per_prompt(run):
    config = CONFIGS / 'ablations' / 'mask-output-all_sam-tiny_shapes.py'
    report = run('masks', config, None, '--cfg-options', FEW)
    assert (report['num_prompts'], report['masks_per_prompt'], len(report['masks'])) == (64, 3, 192)
    assert [(m['prompt'], m['output']) for m in report['masks'][5:8]] == [(1, 2), (2, 0), (2, 1)]


def test_find_failures(run, camvid, tmp_path):
    checkpoint = save_checkpoint(camvid, tmp_path / 'a.pth')
    report = run('failures', camvid, checkpoint, '--worst', '3')
    totals, images = report['totals'], report['images']
    expected = evaluate(camvid, checkpoint)
    assert round(totals['mIoU'], 2) == expected['mIoU']
    assert totals['mIoU_by_group']['things'] == pytest.approx(expected['mIoU.things'])
    assert totals['mIoU_by_group']['stuff'] == pytest.approx(expected['mIoU.stuff'])
    assert totals['classes'][3]['IoU'] == pytest.approx(expected['IoU.road'])
    assert [image['labelled_pixels'] for image in images] == 4 * [34 * 48]  # two rows are void
    wrong = sum(sum(image['wrong_pixels'].values()) for image in images)
    assert wrong == sum(kind['wrong_pixels'] for kind in totals['errors'].values())
    assert wrong / (4 * 34 * 48) == pytest.approx(1 - expected['aAcc'] / 100, abs=1e-4)
    assert images[0]['regions'][0]['class_id'] == 'sky'


def evaluate(config: Path, checkpoint: Path) -> Dict[str, float]:
    """The figures of the project's metric."""
    cfg = Config.fromfile(config)
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'], strict=False)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    metric = METRICS.build(cfg.test_evaluator)
    metric.dataset_meta = dataset.metainfo
    for data in dataset:
        with torch.no_grad():
            metric.process({}, [s.to_dict() for s in model.test_step(pseudo_collate([data]))])
    return metric.evaluate(len(dataset))


def test_nothing_that_is_no_number_is_written(run, tmp_path):
    report = run('failures', SHAPES, None, '--cfg-options', FEW)
    assert len(report['images']) == 3
    assert all(math.isfinite(image['mIoU']) for image in report['images'])


def test_a_config_without_prompts(run):
    with pytest.raises(ValueError, match='LinearEmbeddingHead, which has no prompts'):
        run('explain', CONFIGS / 'ablations' / 'linear_sam-tiny_shapes.py', None)


def test_a_config_that_does_not_exist(run):
    with pytest.raises(FileNotFoundError, match=r'none\.py'):
        run('masks', 'none.py', None)


def test_a_split_that_is_not_configured(run):
    with pytest.raises(ValueError, match='has no test_dataloader'):
        run('masks', SHAPES, None, '--cfg-options', 'test_dataloader=None')


def test_a_checkpoint_that_does_not_exist(run):
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        run('masks', SHAPES, 'none.pth')


def test_a_checkpoint_of_another_run(run, tmp_path):
    checkpoint = save_checkpoint(SHAPES, tmp_path / 'a.pth')
    with pytest.raises(PromptStateError, match='not part of this model'):
        run('failures', CONFIGS / 'ssprompt_sam-tiny_shapes_zero-shot.py', checkpoint)


def test_a_checkpoint_of_other_words(run, tmp_path):
    other = torch.nn.functional.normalize(torch.randn(10, 64), dim=-1)
    checkpoint = save_checkpoint(
        SHAPES, tmp_path / 'a.pth', **{'semantic_prompts.fusion.default': other}
    )
    with pytest.raises(ValueError, match='handcrafted prompts of the configured class names'):
        run('explain', SHAPES, checkpoint)


def test_a_data_set_that_is_not_there(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((DatasetError, FileNotFoundError), match='img_dir/val'):
        run('masks', CAMVID, None)


def test_prompts_are_explained_without_data(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = run('explain', CAMVID, None)
    assert [c['group'] for c in report['semantic']['classes']][2] == 'things'  # pole
    assert report['spatial']['prompts'][-1]['default']['y'] == pytest.approx(0.75 * 7.5 / 8)
