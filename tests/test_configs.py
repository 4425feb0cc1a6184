"""Every configuration can be read, and says what its parts need to agree on."""

from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from mmseg.registry import DATASETS, MODELS

from mmseg_ssprompt.models.clip.clip_variants import get_clip_variant
from mmseg_ssprompt.models.sam.sam_variants import get_variant
from mmseg_ssprompt.models.seem.seem_variants import PIXEL_MEAN, PIXEL_STD
from mmseg_ssprompt.models.seem.seem_variants import get_variant as get_seem_variant
from mmseg_ssprompt.weights.model_weights import hand_down_weights

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
FILES = sorted(CONFIGS.glob('*.py'))
SHIPPED = [file for file in FILES if 'tiny' in file.name]
ids = [file.stem for file in FILES]
ON_SEEM = [file for file in FILES if '_seem_' in file.name]
ON_SEEM_TINY = [file for file in FILES if '_seem-tiny_' in file.name]
ON_SAM = [file for file in FILES if '_seem' not in file.name]
sam_ids, seem_ids = ([file.stem for file in files] for files in (ON_SAM, ON_SEEM))


def test_there_are_configs():
    assert {'ssprompt_sam_ade20k', 'ssprompt_sam-tiny_camvid'} <= set(ids)
    assert {'ssprompt_seem_focal-t_ade20k', 'ssprompt_seem_sam-vit-l_cityscapes'} <= set(ids)


def read(file):
    """A config, with the files of weights where they are taken."""
    cfg = Config.fromfile(file)
    weights = cfg.model.weights
    cfg.model = ConfigDict(hand_down_weights(cfg.model))
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        if dataset.type == 'EmbeddedDataset':  # as mmseg-ssprompt cache does
            parts = dict(encoder=dataset.encoder, weights=weights)
            dataset.encoder = ConfigDict(hand_down_weights(parts)['encoder'])
    return cfg


def test_every_path_of_weights_stands_once():
    for file in sorted(CONFIGS.rglob('*.py')):
        text = file.read_text()
        for line in text.splitlines():
            if 'weights/' in line or '://sam' in line or '://clip' in line:
                assert 'weights' in line.split('=')[0] or line.strip().startswith('sam='), line


def image_parts(cfg):
    """Image encoder and data preprocessor: of the model, or those that its data were made with."""
    backbone = cfg.model.backbone
    if backbone.type != 'PrecomputedFeatures':
        return [(backbone, cfg.model.data_preprocessor)]
    datasets = [cfg[f'{split}_dataloader'].dataset for split in ('train', 'val', 'test')]
    return [(dataset.encoder, dataset.data_preprocessor) for dataset in datasets]


def sam_of(backbone):
    """SAM's image encoder, alone or beside CLIP's, or of samples that it has embedded."""
    encoder = backbone.get('encoder', backbone)
    return encoder.get('sam', encoder)


@pytest.mark.parametrize('file', ON_SAM, ids=sam_ids)
def test_sam_s_parts_are_of_one_variant_and_its_official_file(file):
    cfg = read(file)
    head = cfg.model.decode_head
    for encoder, preprocessor in image_parts(cfg):
        encoder = sam_of(encoder)
        parts = (encoder, head.segmenter)
        assert len({(part.variant, part.checkpoint) for part in parts}) == 1
        variant = get_variant(sam_of(cfg.model.backbone).variant)
        assert encoder.variant == sam_of(cfg.model.backbone).variant
        if variant.official_file:
            assert encoder.checkpoint == f'weights/{variant.official_file}'
        assert preprocessor.size == (variant.image_size,) * 2
        assert preprocessor.test_cfg.size == (variant.image_size,) * 2


@pytest.mark.parametrize(
    ('name', 'variant'),
    [('ade20k', 'vit_b'), ('ade20k_vit-l', 'vit_l'), ('ade20k_vit-h', 'vit_h')],
)
def test_name_says_the_variant(name, variant):
    cfg = Config.fromfile(CONFIGS / f'ssprompt_sam_{name}.py')
    assert cfg.model.backbone.variant == variant


SEEM_VARIANTS = {
    'focal-t': 'focal_t',
    'focal-l': 'focal_l',
    'davit-d3': 'davit_d3',
    'sam-vit-b': 'sam_vit_b',
    'sam-vit-l': 'sam_vit_l',
}


@pytest.mark.parametrize('file', ON_SEEM, ids=seem_ids)
def test_seem_s_parts_are_of_one_variant_and_its_official_file(file):
    cfg = read(file)
    head = cfg.model.decode_head
    texts = head.semantic_prompts.text_encoder
    name = SEEM_VARIANTS[file.stem.split('_')[2]]
    variant = get_seem_variant(name)
    assert cfg.model.backbone.get('encoder', cfg.model.backbone).variant == name
    # DaViT has no published file.
    official = f'weights/{variant.official_file or "seem_davitd3_v1.pt"}'
    for encoder, preprocessor in image_parts(cfg):
        for part in (encoder, head.segmenter, texts):
            assert (part.variant, part.checkpoint) == (name, official)
        assert (preprocessor.mean, preprocessor.std) == (list(PIXEL_MEAN), list(PIXEL_STD))
        for padding in (preprocessor, preprocessor.test_cfg):
            assert padding.get('size') == variant.frame
            assert padding.get('size_divisor') == (None if variant.frame else variant.divisor)


@pytest.mark.parametrize('file', ON_SEEM, ids=seem_ids)
def test_images_are_resized_as_seem_resizes_them(file):
    cfg = Config.fromfile(file)
    size = (800, 1333)
    if '_sam-vit' in file.stem:
        size = (1000, 1024)
    elif '_ade20k' in file.stem:
        size = (640, 2560)
    resize = dict(type='SEEMResize', min_size=size[0], max_size=size[1])
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        resizes = [t for t in unwrap(loader.dataset).pipeline if 'Resize' in t.type]
        assert resizes == [resize]
    assert cfg.tta_pipeline[1].transforms[0] == [resize]


WITH_CLIP = [file for file in FILES if '_sam-clip' in file.name]


@pytest.mark.parametrize('file', WITH_CLIP, ids=[file.stem for file in WITH_CLIP])
def test_clip_s_two_towers_are_of_one_file(file):
    cfg = read(file)
    text = cfg.model.decode_head.semantic_prompts.text_encoder
    own = cfg.model.backbone.get('encoder', cfg.model.backbone)
    encoders = [own.clip, *(encoder.clip for encoder, _ in image_parts(cfg))]
    for clip in encoders:
        assert (clip.variant, clip.checkpoint) == (text.variant, text.checkpoint)
        assert clip.image_size == encoders[0].image_size
        get_clip_variant(clip.variant).count_patches(clip.image_size)


# On SEEM the small variant has twins.
TRAINED = [
    file
    for file in [*WITH_CLIP, *(f for f in ON_SEEM if '_focal-t' in f.name)]
    if not file.stem.endswith(('_zero-shot', '_cached', '_16shot'))
]


@pytest.mark.parametrize('file', TRAINED, ids=[file.stem for file in TRAINED])
def test_these_configs_have_a_twin_without_training(file):
    twin = Config.fromfile(CONFIGS / f'{file.stem}_zero-shot.py')
    own = Config.fromfile(file)
    for config, mode in ((own, 'learned_weight'), (twin, 'default_only')):
        for part in ('spatial_prompts', 'semantic_prompts'):
            assert config.model.decode_head[part].fusion.mode == mode
            config.model.decode_head[part].pop('fusion')
    assert twin.model == own.model


@pytest.mark.parametrize('file', ON_SAM, ids=sam_ids)
def test_text_file_is_the_official_one(file):
    encoder = read(file).model.decode_head.semantic_prompts.text_encoder
    official = get_clip_variant(encoder.variant).official_file
    if official:
        assert encoder.checkpoint == f'weights/{official}'


def unwrap(dataset):
    """The data set inside of ``FewShotDataset`` or ``EmbeddedDataset``."""
    wraps = dataset.type in ('FewShotDataset', 'EmbeddedDataset')
    return unwrap(dataset.dataset) if wraps else dataset


@pytest.mark.parametrize('file', ON_SAM, ids=sam_ids)
def test_images_are_resized_as_sam_resizes_them(file):
    cfg = Config.fromfile(file)
    size = image_parts(cfg)[0][1].size
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        dataset = unwrap(loader.dataset)
        resizes = [t for t in dataset.pipeline if t.type in ('Resize', 'ResizeWithLabels')]
        assert all(r.scale == size and r.keep_ratio and r.backend == 'pillow' for r in resizes)
        assert resizes or dataset.type.startswith('Shapes')


@pytest.mark.parametrize('file', FILES, ids=ids)
def test_number_of_classes_is_that_of_the_data(file):
    cfg = Config.fromfile(file)
    dataset = unwrap(cfg.train_dataloader.dataset)
    metainfo = dataset.get('metainfo') or DATASETS.get(dataset.type).METAINFO
    head, classes = cfg.model.decode_head, dataset.get('classes') or metainfo['classes']
    # Without num_classes it is the number of the names.
    number = head.get('num_classes') or len(head.semantic_prompts.class_names)
    assert number == len(classes)


@pytest.mark.parametrize('file', FILES, ids=ids)
def test_begins_with_the_command_that_runs_it(file):
    command = next(line for line in file.read_text().splitlines() if 'python tools/' in line)
    assert f'configs/{file.name}' in command


# The miniature draws from more scenes than it otherwise trains on.
SHOTS = [f for f in FILES if f.stem.endswith('_16shot') and 'tiny' not in f.stem]


@pytest.mark.parametrize('file', SHOTS, ids=[file.stem for file in SHOTS])
def test_few_shot_configs_draw_from_the_whole_training_set(file):
    whole = Config.fromfile(CONFIGS / file.name.replace('_16shot', ''))
    dataset = Config.fromfile(file).train_dataloader.dataset
    assert dataset.dataset == whole.train_dataloader.dataset
    assert (dataset.type, dataset.shots, dataset.seed) == ('FewShotDataset', 16, 1)
    name = file.stem.replace('ssprompt_sam_', '').replace('ssprompt_seem_focal-t_', '')
    assert dataset.manifest == f'data/few_shot/{name}_seed1.json'


@pytest.mark.parametrize('file', SHIPPED, ids=[file.stem for file in SHIPPED])
def test_builds_with_what_the_package_ships(file):
    model = MODELS.build(Config.fromfile(file).model)
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    if 'zero-shot' in file.stem:
        assert trainable == []
    else:
        assert len([name for name in trainable if 'prompts.fusion' in name]) == 4
