"""Embedded samples of SEEM: four tensors, of the size of each image."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS

from embedding_caches import as_dataset, fill
from mmseg_ssprompt.cache import Embedder, Recipe
from mmseg_ssprompt.models.seem import SEEMImageEncoder
from mmseg_ssprompt.weights.model_weights import hand_down_weights
from seem_files import save_official_file
from tiny_model import use_tiny_seem
from trees import make_tree, write_random_pair

ROOT = Path(__file__).resolve().parents[2]
NAME = 'ssprompt_seem_focal-t_{}_16shot'
FEATURES = {'embedding', 'level_0', 'level_1', 'level_2'}


@pytest.fixture(scope='module')
def seem_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('seem') / 'seem_tiny.pt'
    save_official_file('tiny', path)
    return path


def read(data: str, file: Path) -> Config:
    """The config of few shots on the tiny SEEM, without random transforms."""
    config = Config.fromfile(ROOT / 'configs' / f'{NAME.format(data)}.py')
    use_tiny_seem(config, str(file))
    for split in ('train', 'val', 'test'):
        loader = config[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        dataset = loader.dataset.get('dataset', loader.dataset)
        dataset.pipeline = [t for t in dataset.pipeline if 'Random' not in t.type]
        dataset.pipeline = [t for t in dataset.pipeline if 'Distortion' not in t.type]
    return config


def recipe_of(config: Config, split: str, **options) -> Recipe:
    backbone = hand_down_weights(config.model.to_dict())['backbone']
    dataset = config[f'{split}_dataloader'].dataset.to_dict()
    preprocessor = config.model.data_preprocessor.to_dict()
    return Recipe(dataset, backbone, preprocessor, test_mode=split != 'train', **options)


def cached_model(config: Config) -> torch.nn.Module:
    """The model of a config, for embedded samples."""
    model = Config(dict(model=config.model.to_dict())).model
    model.backbone = dict(type='PrecomputedFeatures', encoder=model.backbone)
    model.data_preprocessor = dict(type='EmbeddingPreProcessor')
    return MODELS.build(model).eval()


@pytest.fixture
def config(tmp_path, monkeypatch, seem_file) -> Config:
    monkeypatch.chdir(tmp_path)
    config = read('cityscapes', seem_file)
    make_tree(tmp_path, config.data_root)
    return config


@pytest.mark.parametrize('data', ['ade20k', 'cityscapes'])
def test_shipped_configs_train_and_validate_on_their_caches(data, tmp_path, monkeypatch, seem_file):
    """Without the images; ADE20K's are of several sizes."""
    monkeypatch.chdir(tmp_path)
    config = read(data, seem_file)
    make_tree(tmp_path, config.data_root)
    if data == 'ade20k':
        image, label = 'images/training/other.jpg', 'annotations/training/other.png'
        write_random_pair(Path(config.data_root), image, label, (36, 96), range(151))
    cached = Config.fromfile(ROOT / 'configs' / f'{NAME.format(data)}_cached.py')
    for split in ('train', 'val'):
        own = cached[f'{split}_dataloader'].dataset
        assert own.get('dtype', 'float16') == 'float16'
        recipe = recipe_of(config, split)
        fill(Path(own.cache_dir), recipe)
        loader = cached[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset = as_dataset(Path(own.cache_dir), recipe)
    cached.test_dataloader = cached.val_dataloader
    cached.model.weights = config.model.weights
    cached.model.decode_head = config.model.decode_head
    cached.model.backbone.encoder = config.model.backbone
    cached.merge_from_dict(
        {
            'work_dir': str(tmp_path / 'work'),
            'experiment_name': f'cached_seem_{data}',
            'visualizer.name': f'cached_seem_{data}',
            'train_cfg.max_iters': 3,
            'train_cfg.val_interval': 3,
        }
    )
    Path(config.data_root).rename(tmp_path / 'gone')
    runner = Runner.from_cfg(cached)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.train()
    assert runner.iter == 3
    assert any(not torch.equal(v, before[k]) for k, v in runner.model.state_dict().items())
    assert 0 <= runner.test()['mIoU'] <= 100


def test_a_sample_is_four_tensors(config):
    recipe = recipe_of(config, 'train')
    assert recipe.dtype == 'float16'
    sample = Embedder(recipe)(recipe.build_dataset()[0])
    assert set(sample.features) == FEATURES
    assert all(tensor.dtype == torch.float16 for tensor in sample.features.values())
    assert [tuple(sample.features[f'level_{i}'].shape) for i in range(3)] == [
        (32, 8, 12),
        (32, 4, 6),
        (32, 2, 3),
    ]


@pytest.mark.parametrize(
    ('dtype', 'share', 'tolerance'), [('float32', 1.0, 1e-5), ('float16', 0.99, 2e-2)]
)
def test_predictions_are_those_without_a_cache(config, dtype, share, tolerance):
    """To rounding; float16 has eleven bits."""
    config.model.test_cfg.logits = True
    recipe = recipe_of(config, 'val', dtype=dtype)
    fill(Path('cache'), recipe)
    dataset, source = DATASETS.build(as_dataset(Path('cache'), recipe)), recipe.build_dataset()
    torch.manual_seed(0)
    model = MODELS.build(config.model).eval()
    cached = cached_model(config)
    cached.load_state_dict(model.without_frozen(model.state_dict()))
    with torch.no_grad():
        (found,) = cached.test_step(pseudo_collate([dataset[0]]))
        (expected,) = model.test_step(pseudo_collate([source[0]]))
    difference = found.seg_logits.data - expected.seg_logits.data
    assert difference.abs().max() < tolerance * expected.seg_logits.data.abs().max()
    same = found.pred_sem_seg.data == expected.pred_sem_seg.data
    assert same.float().mean() >= share


def test_samples_of_several_sizes_in_a_batch_are_refused(tmp_path, monkeypatch, seem_file):
    """They were not padded to one size before they were embedded."""
    monkeypatch.chdir(tmp_path)
    config = read('ade20k', seem_file)
    root = Path(config.data_root)
    make_tree(tmp_path, config.data_root)
    for name, size in (('a', (36, 48)), ('b', (36, 96))):
        names = (f'images/training/{name}.jpg', f'annotations/training/{name}.png')
        write_random_pair(root, *names, size, range(151))
    recipe = recipe_of(config, 'train')
    fill(Path('cache'), recipe)
    dataset = DATASETS.build(as_dataset(Path('cache'), recipe))
    batch = pseudo_collate([dataset[number] for number in range(len(dataset))])
    with pytest.raises(ValueError, match='expected embedding of one size in a batch') as error:
        MODELS.build(dict(type='EmbeddingPreProcessor'))(batch, True)
    text = str(error.value)
    assert 'found (32, 16, 16) and (32, 16, 24)' in text and "training/b.jpg'" in text
    assert 'batch_size of the data loader to 1' in text


def bytes_of(frame, dtype: torch.dtype) -> int:
    """Of the features of Focal-T, by shapes alone."""
    with torch.device('meta'):
        features = SEEMImageEncoder('focal_t')(torch.zeros(1, 3, *frame)).named()
    assert set(features) == FEATURES
    return sum(tensor[0].numel() for tensor in features.values()) * dtype.itemsize


#: Image, its frame and its label map in training, as docs/cache.md has them: (H, W).
FRAMES = [((512, 1024), (512, 1024)), ((667, 1333), (672, 1344)), ((640, 854), (640, 864))]


@pytest.mark.parametrize(('image', 'frame'), FRAMES)
def test_the_sizes_in_the_docs(image, frame):
    text = (ROOT / 'docs' / 'cache.md').read_text(encoding='utf-8')
    features, labels = bytes_of(frame, torch.float16), frame[0] * frame[1]
    row = next(line for line in text.splitlines() if f'SEEM, {image[1]} x {image[0]}' in line)
    assert f' {features:,} |' in row and f' {labels:,} |' in row
    assert row.endswith(f'| {features + labels:,} |')
