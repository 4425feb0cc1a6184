"""The command measures the test data of a config, with a checkpoint and without."""

import json
from pathlib import Path

import pytest
import torch

from commands import run_here
from tiny_model import CONFIG, build_tiny

ROOT = Path(__file__).resolve().parents[2]
ZERO_SHOT = ROOT / 'configs' / 'ssprompt_sam-tiny_shapes_zero-shot.py'
NAMES = ('mIoU', 'mIoU.best_mask', 'mIoU.true_mask')


@pytest.fixture
def measure(tmp_path):
    """Run the command in this process, on two images; return what it writes."""

    def run(*arguments: str) -> dict:
        figures = tmp_path / 'new' / 'oracle.json'
        options = ['--json', str(figures), '--work-dir', str(tmp_path / 'work'), '--cfg-options']
        options += ['test_dataloader.dataset.num_images=2', f'experiment_name={tmp_path.name}']
        run_here('oracle', *arguments, *options)
        return json.loads(figures.read_text())

    return run


def test_zero_shot_without_a_checkpoint(measure, capsys):
    figures = measure(ZERO_SHOT)
    groups = ('', '.things', '.stuff')
    assert list(figures) == [f'{name}{group}' for name in NAMES for group in groups]
    # The oracle knows more than the prediction; equality would mean that it changed nothing.
    assert figures['mIoU.best_mask'] > figures['mIoU']
    printed = capsys.readouterr().out
    assert f'mIoU.best_mask: {figures["mIoU.best_mask"]:.2f}\n' in printed


def test_the_checkpoint_is_measured(measure, tmp_path):
    """Prompts that all say the first class: the labels of true masks are wrong, masks are not."""
    model = build_tiny()
    semantic = model.decode_head.semantic_prompts.fusion
    semantic.learned.data.neg_()
    semantic.learned.data[0].neg_()
    semantic.weight_logit.data.fill_(20.0)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    wrong, initial = measure(CONFIG, tmp_path / 'a.pth'), measure(CONFIG)
    assert wrong['mIoU.true_mask'] < initial['mIoU.true_mask']
    assert wrong['mIoU.best_mask'] == initial['mIoU.best_mask']


def test_a_model_without_candidate_masks(measure):
    linear = ROOT / 'configs' / 'ablations' / 'linear_sam-tiny_shapes.py'
    with pytest.raises(ValueError, match=r'SSPromptHead, found LinearEmbeddingHead'):
        measure(linear)
