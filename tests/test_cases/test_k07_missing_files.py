"""All files of a run that are not there are said at once, and files of weights are named once."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS, MODELS

from embedding_caches import fill, recipe_of, shapes
from mmseg_ssprompt.hooks.missing_files import check_files
from mmseg_ssprompt.models.sam.sam_file import fingerprint_part
from mmseg_ssprompt.weights.model_weights import hand_down_weights
from mmseg_ssprompt.weights.state_dicts import read_checkpoint

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
TINY = 'mmseg_ssprompt://sam-tiny_shapes.pth'
SAM, CLIP = 'weights/sam_vit_b_01ec64.pth', 'weights/ViT-B-16.pt'
PUBLISHED = 'https://github.com/facebookresearch/segment-anything'


def read(name: str, folder: Path, text: str = '') -> Config:
    """A child of a config of ours."""
    (folder / 'child.py').write_text(f"_base_ = ['{CONFIGS / name}.py']\n{text}")
    return Config.fromfile(folder / 'child.py')


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_weights_folders_and_lists_are_in_one_error(tmp_path):
    lists = "train_dataloader = dict(dataset=dict(ann_file='train.txt'))"
    cfg = read('ssprompt_sam_ade20k', tmp_path, lists)
    with pytest.raises(FileNotFoundError) as error:
        check_files(cfg, ('train', 'val'))
    text = str(error.value)
    assert 'needed and are not there: 7\n' in text
    assert f"checkpoint '{SAM}' does not exist (for model.backbone, " in text
    assert 'model.backbone, model.decode_head.segmenter). Variant' in text
    assert PUBLISHED in text
    assert f"checkpoint '{CLIP}' does not exist (for model.decode_head.semantic_prompts" in text
    assert 'Download ViT-B-16.pt of github.com/openai/CLIP' in text
    root = 'data/ade/ADEChallengeData2016'
    for split in ('training', 'validation'):
        assert f"data folder '{root}/images/{split}' does not exist" in text
        assert f"data folder '{root}/annotations/{split}' does not exist" in text
    assert f"annotation file '{root}/train.txt' does not exist (for train_dataloader.data" in text


def missing(cfg: Config, *splits: str) -> list:
    """The lines of the error."""
    with pytest.raises(FileNotFoundError) as error:
        check_files(cfg, splits)
    return str(error.value).splitlines()[1:]


def test_splits_that_are_not_used_do_not_matter(tmp_path):
    cfg = read('ssprompt_sam_ade20k', tmp_path)
    found = [line for line in missing(cfg, 'test') if line.startswith('  data folder')]
    assert len(found) == 2
    assert not any('training' in line for line in found)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda d: dict(type='ConcatDataset', datasets=[d, dict(d, data_root='other')]),
        lambda d: dict(type='RepeatDataset', times=2, dataset=d),
        lambda d: dict(type='FewShotDataset', shots=1, seed=0, dataset=d),
        lambda d: dict(type='SeededDataset', dataset=dict(type='RepeatDataset', dataset=d)),
        lambda d: [d],
    ],
)
def test_wrappers_are_looked_into(wrap, tmp_path):
    cfg = read('ssprompt_sam-tiny_camvid', tmp_path)
    cfg.train_dataloader.dataset = wrap(cfg.train_dataloader.dataset.to_dict())
    said = "  data folder 'data/CamVid/train' does not exist (for train_dataloader.dataset). "
    assert f'{said}Set data_root and data_prefix' in missing(cfg, 'train')


def test_a_cache_takes_the_place_of_its_source(tmp_path):
    found = missing(read('ssprompt_sam-tiny_shapes_cached', tmp_path), 'train')
    assert len(found) == 1
    assert "embedding cache 'data/embeddings/ssprompt_sam-tiny_shapes/train/index.json'" in found[0]
    assert found[0].endswith('Make it with `mmseg-ssprompt cache CONFIG`')


def test_nothing_is_missing_where_all_is_there(tmp_path):
    check_files(read('ssprompt_sam-tiny_shapes', tmp_path), ('train', 'val', 'test'))


def test_a_model_alone_says_both_files(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        MODELS.build(read('ssprompt_sam_ade20k', tmp_path).model)
    text = str(error.value)
    assert 'files of weights that are not there: 2' in text and SAM in text and CLIP in text
    assert 'set model.weights=dict(sam=..., clip=...)' in text


def checkpoints(model: dict) -> dict:
    """The files that each kind of part takes."""
    found = {}
    for part in str(hand_down_weights(model)).split("'checkpoint': '")[1:]:
        path = part.split("'")[0]
        found[path] = found.get(path, 0) + 1
    return found


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('ssprompt_sam_ade20k', {'mine.pth': 2, 'mine.pt': 1}),
        ('ssprompt_sam_ade20k_cached', {'mine.pth': 2, 'mine.pt': 1}),
        ('ssprompt_sam_ade20k_vit-h', {'mine.pth': 2, 'mine.pt': 1}),
        ('ssprompt_sam-clip_ade20k', {'mine.pth': 2, 'mine.pt': 3}),
        ('ssprompt_sam-clip_ade20k_cached', {'mine.pth': 2, 'mine.pt': 3}),
        ('ssprompt_sam-clip-tiny_shapes', {'mine.pth': 2, 'mine.pt': 3}),
    ],
)
def test_a_child_names_each_file_once(name, expected, tmp_path):
    text = "model = dict(weights=dict(sam='mine.pth', clip='mine.pt'))"
    assert checkpoints(read(name, tmp_path, text).model) == expected


def test_the_ensemble_s_region_classifier_takes_it_too(tmp_path):
    name = 'ablations/ensemble_sam-clip-tiny_shapes'
    model = hand_down_weights(read(name, tmp_path, "model = dict(weights=dict(clip='c'))").model)
    assert model['decode_head']['classifier']['region']['checkpoint'] == 'c'
    assert 'projection' in model['decode_head']['classifier']['token']['checkpoint']


def test_a_part_keeps_a_checkpoint_of_its_own(tmp_path):
    text = "model = dict(weights=dict(sam='a'), decode_head=dict(segmenter=dict(checkpoint='b')))"
    model = hand_down_weights(read('ssprompt_sam_ade20k', tmp_path, text).model)
    assert model['backbone']['checkpoint'] == 'a'
    assert model['decode_head']['segmenter']['checkpoint'] == 'b'


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        (dict(smam='a'), r"found 'smam': known entries are \['clip', 'clip_act"),
        ('a.pth', "expected model.weights=dict.*, found 'a.pth'"),
        (dict(sam=dict(checkpoint='a')), 'found sam=.*: give a path, or None'),
        (dict(clip_activation='relu'), 'activation must be one of'),
    ],
)
def test_other_settings_are_refused(weights, message, tmp_path):
    model = read('ssprompt_sam-tiny_shapes', tmp_path).model
    model.weights = weights
    with pytest.raises(ValueError, match=message):
        MODELS.build(model)


def test_no_weights_are_random_weights_and_are_said_to_be(tmp_path, log):
    model = read('ssprompt_sam-tiny_shapes', tmp_path).model
    model.weights = None
    MODELS.build(model)
    said = {r.getMessage().split(' HAS')[0] for r in log.records if 'RANDOM' in r.getMessage()}
    assert len(said) == 4


def test_samples_of_other_weights_than_the_model_s_are_refused(tmp_path):
    """A child of a cached config changes ``model.weights`` alone."""
    other = {key: value.clone() for key, value in read_checkpoint(TINY).items()}
    other['image_encoder.neck.0.weight'].view(-1)[0] += 1
    torch.save(other, tmp_path / 'mine.pth')
    text = "model = dict(weights=dict(sam='mine.pth'))"
    child = read('ssprompt_sam-tiny_shapes_cached', tmp_path, text)
    assert child.train_dataloader.dataset.encoder.get('checkpoint') is None
    recipe = recipe_of(shapes(2))
    fill(tmp_path / 'cache', recipe)
    encoder = {k: v for k, v in recipe.encoder.items() if k != 'checkpoint'}
    dataset = DATASETS.build(
        dict(vars(recipe), type='EmbeddedDataset', cache_dir='cache', encoder=encoder)
    )
    model = MODELS.build(child.model)
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), True)
    with pytest.raises(ValueError) as error:
        model(**batch, mode='loss')
    own, made_by = (fingerprint_part(file, 'image_encoder')[:12] for file in ('mine.pth', TINY))
    assert (
        f'expected a sample embedded with the image_encoder of model.weights, SHA-256 {own}..., '
        f'found one of SHA-256 {made_by}....'
    ) in str(error.value)
    assert str(batch['data_samples'][0].img_path) in str(error.value)
    assert 'mmseg-ssprompt cache' in str(error.value)
    own = MODELS.build(Config.fromfile(CONFIGS / 'ssprompt_sam-tiny_shapes_cached.py').model)
    assert own(**batch, mode='loss')
