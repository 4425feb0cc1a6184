"""Files that vanish or break while a training reads them end it, and are named."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_ssprompt.datasets import DatasetError
from trees import make_camvid_tree

from .tools import CONFIGS


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


@pytest.mark.parametrize(
    ('folder', 'keep', 'kind', 'found'),
    [
        ('img_dir', 0, 'image', 'found no such file'),
        ('ann_dir', 300, 'label map', '300 bytes that begin with.*truncated'),
    ],
)
def test_a_worker_names_the_file(tmp_path, monkeypatch, folder, keep, kind, found):
    """The checkpoint before stays, and nothing is tried again for ever."""
    monkeypatch.chdir(tmp_path)
    make_camvid_tree(tmp_path / 'data' / 'camvid')
    cfg = Config.fromfile(CONFIGS / 'ssprompt_sam_camvid.py')
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
    runner = Runner.from_cfg(cfg)
    runner.register_hook(LoseFiles(tmp_path / 'data' / 'camvid' / folder / 'train', keep))
    message = rf"(?s)cannot read {kind} 'data/camvid/{folder}/train/\d\.png'.*{found}"
    with pytest.raises(DatasetError, match=message):
        runner.train()
    assert 1 <= runner.iter < 10
    assert (tmp_path / 'work' / f'iter_{runner.iter}.pth').is_file()
