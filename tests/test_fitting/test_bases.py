"""The base models of fit: what each needs is said at once."""

import pytest
import torch
from mmengine.config import Config

from mmseg_ssprompt.fitting.bases import (
    ARMS,
    BASES,
    check_weights,
    choose_arms,
    find_base,
    model_weights,
)
from mmseg_ssprompt.models.sam import SAM_VARIANTS
from mmseg_ssprompt.models.seem import SEEM_VARIANTS


@pytest.mark.parametrize('name', BASES)
def test_files_are_the_official_ones(name):
    base = BASES[name]
    model = Config.fromfile(base.config_file).model
    variant = base.variant or model.backbone.variant
    table = SAM_VARIANTS if base.kind == 'sam' else SEEM_VARIANTS
    assert base.weights.get(base.kind) == table[variant].official_file
    assert bool(base.weights) == (table[variant].official_file is not None)
    assert ('projection' in base.arms) == (base.kind == 'sam')


def test_all_missing_files_are_said_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = find_base('sam-vit-h')
    with pytest.raises(FileNotFoundError) as error:
        check_weights(base, model_weights(base))
    text = str(error.value)
    assert 'not there: 2' in text
    assert str(tmp_path / 'weights' / 'sam_vit_h_4b8939.pth') in text
    assert str(tmp_path / 'weights' / 'ViT-B-16.pt') in text
    assert 'github.com/facebookresearch/segment-anything' in text
    assert 'github.com/openai/CLIP' in text
    assert '--weights FILE and --clip-weights FILE' in text and '--base sam-tiny' in text


def test_files_that_are_given(tmp_path):
    files = [tmp_path / name for name in ('sam.pth', 'clip.pt')]
    for file in files:
        torch.save({}, file)
    base = find_base('sam-vit-b')
    found = model_weights(base, *map(str, files))
    assert found == dict(sam=str(files[0]), clip=str(files[1]))
    check_weights(base, found)
    check_weights(find_base('sam-tiny'), {})
    check_weights(find_base('seem-tiny'), {})


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r'--base: expected one of sam-vit-b, .*found .x.'):
        find_base('x')
    with pytest.raises(ValueError, match='--weights: .*come with the package'):
        model_weights(find_base('sam-tiny'), 'file.pth')
    with pytest.raises(ValueError, match='--clip-weights: .*texts of their own'):
        model_weights(find_base('seem-focal-t'), None, 'file.pt')


def test_arms_of_each_base():
    assert choose_arms(find_base('sam-tiny'), 'auto') == list(ARMS)
    assert choose_arms(find_base('sam-vit-b'), 'auto') == ['ssprompt-projection', 'projection']
    assert choose_arms(find_base('seem-tiny'), 'auto') == ['ssprompt']
    assert choose_arms(find_base('sam-tiny'), 'projection') == ['projection']
    with pytest.raises(ValueError, match='expected auto or one of ssprompt for SEEM Focal-T'):
        choose_arms(find_base('seem-focal-t'), 'projection')
    with pytest.raises(ValueError, match='No projection from masks to texts comes with SAM ViT-L'):
        choose_arms(find_base('sam-vit-l'), 'ssprompt')
    with pytest.raises(ValueError, match='expected auto or one of ssprompt, '):
        choose_arms(find_base('sam-tiny'), 'prompts')
