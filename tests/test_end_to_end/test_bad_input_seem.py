"""Wrong files, frames and names for SEEM end before the first step, with what to do."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmseg_ssprompt.models.sam.sam_variants import build_sam
from mmseg_ssprompt.models.seem.seem_text_encoder import SEEMTextEncoder
from mmseg_ssprompt.models.seem.seem_variants import SEEM_VARIANTS
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from seem_files import save_official_file
from tiny_model import use_tiny_seem
from trees import make_tree

from .test_bad_input import fails, train
from .tools import CONFIGS

CONFIG = CONFIGS / 'ssprompt_seem_focal-t_cityscapes_16shot.py'
FILE = 'weights/seem_focalt_v1.pt'


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> Path:
    """A folder with files in the official formats: SEEM of two variants, and SAM."""
    folder = tmp_path_factory.mktemp('files')
    for name in ('tiny', 'tiny_deform'):
        save_official_file(name, folder / f'{name}.pt')
    torch.save(build_sam('tiny').state_dict(), folder / 'sam.pth')
    return folder


@pytest.fixture
def cfg(files, tmp_path, monkeypatch) -> Config:
    """16 shots of Cityscapes on the tiny SEEM, which trains as it is."""
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(CONFIG)
    make_tree(tmp_path, cfg.data_root)
    (tmp_path / 'weights').mkdir()
    (tmp_path / FILE).symlink_to(files / 'tiny.pt')
    use_tiny_seem(cfg, FILE)
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path / 'work'),
            'experiment_name': f'seem_{tmp_path.name}',
            'visualizer.name': f'seem_{tmp_path.name}',
            'train_cfg.max_iters': 1,
            'train_cfg.val_interval': 1,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'val_dataloader.num_workers': 0,
            'val_dataloader.persistent_workers': False,
        }
    )
    return cfg


def give(tmp_path: Path, content: Path) -> None:
    """Put another file in the place of SEEM's."""
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).symlink_to(content)


def test_good_input_trains(cfg):
    assert train(cfg).iter == 1
    assert (Path(cfg.work_dir) / 'iter_1.pth').is_file()


def test_missing_weights(cfg, tmp_path):
    (tmp_path / FILE).unlink()
    head = cfg.model.decode_head
    for part in (cfg.model.backbone, head.segmenter, head.semantic_prompts.text_encoder):
        part.variant = 'focal_t'
    message = fails(cfg, FileNotFoundError)
    assert f'{FILE!r} does not exist (for model.backbone, model.decode_head.segmenter' in message
    assert "Variant 'focal_t' needs seem_focalt_v1.pt" in message
    assert 'https://huggingface.co/xdecoder/SEEM' in message


def test_a_file_of_sam(cfg, tmp_path, files):
    give(tmp_path, files / 'sam.pth')
    message = fails(cfg, CheckpointError)
    assert f'{FILE!r}: expected SEEM, but by its keys this is SAM: give it as' in message
    assert "model.weights=dict(sam='FILE') to a config of SAM" in message


def test_a_file_of_seem_in_a_config_of_sam(cfg, tmp_path):
    sam = Config.fromfile(CONFIGS / 'ssprompt_sam_cityscapes_16shot.py').model
    cfg.model.backbone, cfg.model.weights = sam.backbone, dict(sam=FILE)
    cfg.model.data_preprocessor = sam.data_preprocessor
    message = fails(cfg, CheckpointError)
    assert f'{FILE!r}: expected SAM, but by its keys this is SEEM or X-Decoder: give it' in message
    assert "as model.weights=dict(seem='FILE') to a config of SEEM" in message


@pytest.mark.parametrize('part', ['backbone', 'segmenter', 'text_encoder'])
def test_a_file_of_another_variant(cfg, part):
    """Also where one part alone has it: some shapes are those of several variants."""
    head = cfg.model.decode_head
    texts = head.semantic_prompts.text_encoder
    parts = dict(backbone=cfg.model.backbone, segmenter=head.segmenter, text_encoder=texts)
    parts[part].variant = 'focal_tiny_deform'
    message = fails(cfg, CheckpointError)
    assert f"{FILE!r} does not fit SEEM variant 'focal_tiny_deform'" in message
    assert "The file is of variant 'focal_tiny': set variant='focal_tiny' for all" in message


def test_a_truncated_file(cfg, tmp_path, files):
    (tmp_path / 'cut.pt').write_bytes((files / 'tiny.pt').read_bytes()[:100_000])
    give(tmp_path, tmp_path / 'cut.pt')
    message = fails(cfg, CheckpointError)
    assert repr(FILE) in message
    assert 'copy or download it again' in message


def test_a_frame_that_is_no_multiple(cfg):
    cfg.model.data_preprocessor.test_cfg.size_divisor = 16
    message = fails(cfg, ValueError)
    assert 'model.data_preprocessor.test_cfg.size_divisor: the image encoder expects' in message
    assert 'multiples of 32 pixels, found 16. Set data_preprocessor=dict(size_div' in message


@pytest.fixture
def vit(cfg, monkeypatch) -> Config:
    """The same on a small SAM-ViT, which takes one frame alone, with random weights."""
    small = replace(
        SEEM_VARIANTS['focal_tiny_deform'],
        backbone='sam_vit',
        widths=(16, 32, 64, 128),
        depths=(1,),
        heads=(1,),
        vit_width=16,
        global_attn_indexes=(0,),
        divisor=1024,
        frame=(1024, 1024),
    )
    monkeypatch.setitem(SEEM_VARIANTS, 'vit_tiny', small)
    head = cfg.model.decode_head
    for part in (cfg.model.backbone, head.segmenter, head.semantic_prompts.text_encoder):
        part.variant = 'vit_tiny'
    cfg.model.weights = None
    return cfg


@pytest.mark.parametrize(
    ('frame', 'found'),
    [(dict(size_divisor=32), '32'), (dict(size=(1024, 512)), r'(1024, 512)')],
)
def test_a_frame_that_sam_s_vit_does_not_take(vit, frame, found):
    vit.model.data_preprocessor.pop('size_divisor')
    vit.model.data_preprocessor.update(frame, test_cfg=frame)
    message = fails(vit, ValueError)
    assert 'the image encoder expects size=(1024, 1024), the frame' in message
    assert f'found {found}. Set data_preprocessor=dict(size=(1024, 1024), test_cfg' in message


def test_a_name_that_is_too_long(cfg):
    names = [f'class {number}' for number in range(18)]
    cfg.model.decode_head.semantic_prompts.class_names = [*names, 'very ' * 80 + 'long road']
    message = fails(cfg, ValueError)
    assert "class name 'very very" in message and "(index 18) in template '{}.'" in message
    assert 'text encoders read at most 77: shorten the name or the template' in message


def test_more_names_than_classes(cfg):
    names = [f'class {number}' for number in range(20)]
    cfg.model.decode_head.semantic_prompts.class_names = names
    assert 'num_classes is 19, but there are 20 class names' in fails(cfg, ValueError)


def test_any_number_of_names_is_taken(files):
    """More than the 133 of COCO, which SEEM's own evaluation has."""
    names = [f'class {number}' for number in range(300)]
    encoder = SEEMTextEncoder('focal_tiny', files / 'tiny.pt', templates=['{}.'])
    assert encoder.encode(names).shape == (300, 32)
