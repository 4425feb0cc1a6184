"""The command counts what can be counted by hand, and says what it could not measure."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

from commands import run_here
from mmseg_ssprompt.analysis.complexity import flops, report
from mmseg_ssprompt.analysis.complexity.subject import (
    _label_map,
    build_subject,
    make_batch,
    use_random_weights,
)
from mmseg_ssprompt.cli import get_complexity

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
TINY = CONFIGS / 'ssprompt_sam-tiny_shapes.py'
ZERO_SHOT = CONFIGS / 'ssprompt_sam-tiny_shapes_zero-shot.py'
ADE20K = CONFIGS / 'ssprompt_sam_ade20k.py'


def build(config, random_weights=False):
    return build_subject(config, random_weights, 'cpu')


def count(config):
    """Operations by part of a config's model."""
    subject = build(config)
    subject.model.eval()
    return flops.count_flops(subject.model, make_batch(subject))


# ---- what is counted


def test_a_linear_projection():
    projection = nn.Linear(4, 5)
    with flops.make_counter(projection) as counter:
        projection(torch.randn(7, 4))
    assert counter.get_total_flops() == 2 * 7 * 4 * 5


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('training', [False, True])
def test_attention(masked, training):
    query, other = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8)
    mask = torch.randn(2, 3, 5, 7) if masked else None
    with torch.set_grad_enabled(training), flops.make_counter(nn.Identity()) as counter:
        F.scaled_dot_product_attention(query, other, other, attn_mask=mask)
    assert counter.get_total_flops() == 2 * (2 * 2 * 3 * 5 * 7 * 8)


def test_the_image_encoder_of_sam_tiny():
    places, width = 12 * 12, 128
    patches = 2 * places * (3 * 8 * 8) * width
    projections = 2 * places * width * (3 * width + width + 4 * width + 4 * width)  # of a block
    windows = 4 * (2 * 2 * 36 * 36 * width) + 2 * (2 * places * width * 6)  # attention, positions
    everywhere = 2 * 2 * places * places * width + 2 * (2 * places * width * 12)
    neck = 2 * places * 96 * (width + 9 * 96)
    expected = patches + 4 * projections + 2 * windows + 2 * everywhere + neck
    assert count(TINY)['image_encoder'] == expected


def test_the_other_parts_of_sam_tiny():
    counted = count(TINY)
    assert counted['prompt_encoder'] == 2 * (12 * 12) * 2 * 48  # positions of the image
    projected, compared = 2 * 64 * 96 * 64, 2 * 64 * 64 * 11  # N = 64, E = 64, C + 1 = 11
    summed = 2 * 64 * 10 * 48 * 48
    assert counted['classifier_and_rest'] == projected + compared + summed
    assert counted['total'] == sum(counted[name] for name in flops.PARTS)
    assert counted['mask_decoder'] > 0.2e9


def test_a_head_without_prompts():
    flops = count(CONFIGS / 'ablations' / 'linear_sam-tiny_shapes.py')
    assert (flops['prompt_encoder'], flops['mask_decoder']) == (0, 0)
    assert flops['classifier_and_rest'] == 2 * (12 * 12) * 96 * 10


def test_independent_decoding_costs_more():
    independent = count(CONFIGS / 'ablations' / 'independent_sam-tiny_shapes.py')
    joint = count(TINY)
    assert independent['mask_decoder'] > 4 * joint['mask_decoder']
    assert independent['image_encoder'] == joint['image_encoder']


def test_parameters_of_ssprompt():
    counted = flops.count_parameters(build(TINY).model)
    spatial, semantic = 64 * 2 * 96 + 64, 10 * 64 + 10  # learned embeddings and weights
    assert counted == dict(trainable=spatial + semantic, frozen=1_407_189)
    assert spatial + semantic == 13_002


# ---- the model and its batch


def test_only_missing_files_become_random_weights(tmp_path):
    there = tmp_path / 'there.pth'
    there.touch()
    shipped = 'mmseg_ssprompt://sam-tiny_shapes.pth'
    cfg = Config(
        dict(
            backbone=dict(checkpoint='nowhere.pth'),
            decode_head=dict(
                parts=[dict(checkpoint=str(there)), dict(checkpoint=shipped)],
                classifier=dict(type='TokenClassifier', checkpoint='nowhere.pth'),
            ),
        )
    )
    assert use_random_weights(cfg._cfg_dict) == ['nowhere.pth']
    assert cfg.backbone.checkpoint is None
    assert [p.checkpoint for p in cfg.decode_head.parts] == [str(there), shipped]
    assert cfg.decode_head.classifier.checkpoint is None
    assert cfg.decode_head.classifier.trainable is False


def test_a_batch_has_nine_classes_or_all():
    subject = build(TINY)
    batch = make_batch(subject)
    assert batch['inputs'][0].shape == (3, 96, 96)
    labels = batch['data_samples'][0].gt_sem_seg.data
    assert labels.shape == (1, 96, 96)
    assert labels.unique().tolist() == list(range(9))
    few = _label_map(4, 6, num_classes=2)
    assert few.tolist()[0] == [0, 0, 1, 1, 0, 0]


def test_a_model_without_image_encoder_gets_an_embedding():
    subject = build(CONFIGS / 'ssprompt_sam-tiny_shapes_cached.py')
    (embedding,) = make_batch(subject)['inputs']['embedding']
    assert embedding.shape == (96, 12, 12)


def test_missing_weights_name_the_config_and_the_way_out():
    with pytest.raises(RuntimeError, match=r'(?s)sam_vit_b_01ec64\.pth.*--random-weights') as error:
        build(ADE20K)
    assert str(ADE20K) in str(error.value)


def test_a_config_that_cannot_be_built_names_itself(tmp_path):
    config = tmp_path / 'wrong_classes.py'
    config.write_text(f"_base_ = ['{TINY}']\nmodel = dict(decode_head=dict(num_classes=9))\n")
    with pytest.raises(RuntimeError, match=r'wrong_classes\.py.*num_classes is 9'):
        build(config, random_weights=True)


# ---- rows and the page


def arguments(**changes):
    return Namespace(**{**dict(device='cpu', images=1, random_weights=False), **changes})


def fail(monkeypatch, status, stderr):
    """Let the tool's processes fail."""
    done = subprocess.CompletedProcess([], status, stdout='', stderr=stderr)
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: done)


@pytest.mark.parametrize(
    ('status', 'stderr'), [(-9, ''), (1, 'torch.OutOfMemoryError: CUDA out of memory. Tried to')]
)
def test_training_without_enough_memory_is_said(monkeypatch, status, stderr):
    fail(monkeypatch, status, stderr)
    problems = {}
    assert get_complexity.measure_phase(arguments(), TINY, 'train', problems) == {}
    assert problems == {'train': 'out of memory'}


@pytest.mark.parametrize('phase', ['test', 'train'])
def test_another_failure_ends_the_tool_and_names_the_config(monkeypatch, capsys, phase):
    fail(monkeypatch, 1, 'ValueError: no')
    with pytest.raises(ValueError, match=TINY.name):
        get_complexity.measure_phase(arguments(), TINY, phase, {})
    assert 'ValueError: no' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('value', 'text'),
    [(None, ''), (0.0000276480, '0.0000276'), (0.5639, '0.564'), (20, '20'), (5474.9, '5,470')],
)
def test_figures_have_three_digits(value, text):
    assert report.format_figure(value) == text


def test_unknown_configs_are_refused(capsys):
    with pytest.raises(SystemExit, match='2'):
        run_here('complexity', 'configs/nowhere.py')
    assert "config 'configs/nowhere.py' does not exist" in capsys.readouterr().err


def run_here_instead(command, **options):
    """What ``subprocess.run`` does, in this process."""
    assert command[:3] == [sys.executable, '-m', 'mmseg_ssprompt']
    run_here(*command[3:])
    return subprocess.CompletedProcess(command, 0, stdout='', stderr='')


@pytest.mark.slow
def test_processes_of_their_own_measure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_here('complexity', ZERO_SHOT, '--images', 1, '--json', 'figures.json')
    (row,) = json.loads(Path('figures.json').read_text())['rows']
    assert row['test_seconds'] > 0


def test_page_and_json(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, 'run', run_here_instead)
    page, file = tmp_path / 'new' / 'page.md', tmp_path / 'new' / 'figures.json'
    run_here('complexity', ZERO_SHOT, TINY, '--images', 1, '--out', page, '--json', file)
    table = json.loads(file.read_text())
    zero_shot, learned = table['rows']
    assert zero_shot['parameters'] == dict(trainable=0, frozen=1_407_189)
    assert 'train_seconds' not in zero_shot
    assert learned['parameters']['trainable'] == 13_002
    assert all(
        learned[f'{phase}_{unit}'] > 0 for phase in ('train', 'test') for unit in ('seconds', 'gb')
    )
    assert table['machine']['torch'] == torch.__version__
    rows = [line for line in page.read_text().splitlines() if line.startswith('| [')]
    cells = [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]
    assert [len(row) for row in cells] == [13, 13]
    assert cells[0][-4:-2] == ['', '']
    assert cells[1][2:4] == ['13,002', '1,407,189']
    assert cells[1][-4] == report.format_figure(learned['train_seconds'])
    link = cells[1][0].split('](')[1].rstrip(')')
    assert (page.parent / link).resolve() == TINY
    assert torch.__version__ in page.read_text()
    assert f'mmseg-ssprompt complexity \\\n        {ZERO_SHOT}' in page.read_text()
