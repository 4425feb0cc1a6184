"""Files that vanish or break while a training reads them end it, and are named."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_ssprompt.datasets import DatasetError
from trees import MMSEG_LAYOUT, make_photograph_tree


class LoseFiles(Hook):
    """Damages all training files of a folder once the first step is done."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for file in self.folder.iterdir():
            if self.keep:
                file.write_bytes(file.read_bytes()[: self.keep])
            else:
                file.unlink()


def camvid_config(tmp_path: Path, monkeypatch) -> Config:
    """A training on random pictures, in a process with one worker."""
    monkeypatch.chdir(tmp_path)
    make_photograph_tree(tmp_path / 'data' / 'photographs')
    cfg = Config.fromfile(MMSEG_LAYOUT)
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path / 'work'),
            'experiment_name': tmp_path.name,
            'train_cfg.max_iters': 30,
            'default_hooks.checkpoint.interval': 1,
            'train_dataloader.num_workers': 1,
            'train_dataloader.batch_size': 2,
            'val_dataloader': None,
            'val_cfg': None,
            'val_evaluator': None,
        }
    )
    return cfg


@pytest.mark.parametrize(
    ('folder', 'keep', 'kind', 'found'),
    [
        ('img_dir', 0, 'image', 'found no such file'),
        ('ann_dir', 300, 'label map', '300 bytes that begin with.*truncated'),
    ],
)
def test_a_worker_names_the_file(tmp_path, monkeypatch, folder, keep, kind, found):
    """The checkpoint before stays, and nothing is tried again for ever."""
    cfg = camvid_config(tmp_path, monkeypatch)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(LoseFiles(tmp_path / 'data' / 'photographs' / folder / 'train', keep))
    message = rf"(?s)cannot read {kind} 'data/photographs/{folder}/train/\d\.png'.*{found}"
    with pytest.raises(DatasetError, match=message):
        runner.train()
    assert 1 <= runner.iter < 10
    assert (tmp_path / 'work' / f'iter_{runner.iter}.pth').is_file()


def test_damaged_files_are_skipped_if_that_is_asked_for(tmp_path, monkeypatch):
    """By the check before training too."""
    cfg = camvid_config(tmp_path, monkeypatch)
    cfg.train_cfg.max_iters = 4
    cfg.train_cfg.max_damaged = 2
    damaged = tmp_path / 'data' / 'photographs' / 'img_dir' / 'train' / '0.png'
    damaged.write_bytes(damaged.read_bytes()[:300])
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 4
    (log,) = (tmp_path / 'work').glob('*/*.log')
    text = log.read_text()
    assert 'training data: 1 of ' in text
    assert "the first is 'data/photographs/img_dir/train/0.png'" in text
    assert text.count("cannot read image 'data/photographs/img_dir/train/0.png'") == 1
