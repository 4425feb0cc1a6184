"""Each config on docs/own_data.md trains and tests, on photographs that are drawn for it."""

import re
from pathlib import Path
from typing import Dict

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from own_photographs import draw_photograph, save
from test_end_to_end.tools import run_tool

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs' / 'own_data.md').read_text(encoding='utf-8')
BLOCKS: Dict[str, str] = {
    re.match(r'# \w+\.py: (.*)', block).group(1): block
    for block in re.findall(r'```python\n(.*?)```', PAGE, flags=re.DOTALL)
}
PREDICTION = 'all pictures in data/new'
TRAINED = [title for title in BLOCKS if title != PREDICTION]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """The folders that the page names, beside the configs."""
    folder = tmp_path_factory.mktemp('own')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    for name, top in (('cracks', 1), ('masks', 255)):
        for number in range(6):
            image, labels = draw_photograph(number)
            split = 'train' if number < 4 else 'val'
            suffix = ('jpg', 'png', 'JPG')[number % 3]
            save(image, folder / 'data' / name / 'images' / split / f'{number}.{suffix}')
            save(labels * top, folder / 'data' / name / 'labels' / split / f'{number}.png')
    for number in range(6):
        image, labels = draw_photograph(number)
        save(image, folder / 'data' / 'survey' / 'images' / f'{number}.png')
        save(labels, folder / 'data' / 'survey' / 'labels' / f'{number}.png')
    (folder / 'data' / 'survey' / 'train.txt').write_text('0\n1\n2\n3\n')
    (folder / 'data' / 'survey' / 'val.txt').write_text('4.png\n5.png\n')
    for name in ('first', 'more/second'):
        save(draw_photograph()[0], folder / 'data' / 'new' / f'{name}.jpg')
    return folder


def read(folder: Path, name: str) -> Config:
    cfg = Config.fromfile(folder / name)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    cfg.merge_from_dict(
        dict(
            train_cfg=dict(max_iters=2, val_interval=2),
            train_dataloader=dict(batch_size=2),
            work_dir=str(folder / 'work_dirs' / name),
            experiment_name=f'own_{folder.name}_{name}',
            visualizer=dict(name=f'own_{folder.name}_{name}'),
        )
    )
    return cfg


@pytest.mark.parametrize('title', BLOCKS)
def test_a_config_is_short(title):
    lines = [line for line in BLOCKS[title].splitlines() if line.strip()]
    assert len(lines) <= 10


@pytest.mark.parametrize('title', TRAINED)
def test_a_config_trains_keeps_the_best_and_tests(folder, monkeypatch, title):
    monkeypatch.chdir(folder)
    name = f'mine_{TRAINED.index(title)}.py'
    (folder / name).write_text(BLOCKS[title])
    cfg = read(folder, name)
    runner = Runner.from_cfg(cfg)
    runner.train()
    figures = runner.test()
    assert 0 <= figures['mIoU'] <= 100
    assert np.isfinite(figures['IoU.crack'])
    assert list(Path(cfg.work_dir).glob('best_mIoU_iter_2.pth'))
    assert len(runner.train_dataloader.dataset) == 4
    assert len(runner.test_dataloader.dataset) == 2


@pytest.mark.process
def test_pictures_without_label_maps_are_predicted(folder):
    (folder / 'mine.py').write_text(next(iter(BLOCKS.values())))
    (folder / 'predict.py').write_text(BLOCKS[PREDICTION])
    run_tool('test.py', 'predict.py', '--out', 'predictions', cwd=folder)
    for name in ('first', 'more/second'):
        with Image.open(folder / 'predictions' / f'{name}.png') as prediction:
            assert prediction.size == (64, 48)


def test_the_schedule_is_as_long_as_the_page_says():
    file = ROOT / 'configs' / '_base_' / 'schedules' / 'schedule_few-images.py'
    cfg = Config.fromfile(ROOT / 'configs' / 'ssprompt_sam_folder.py')
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (600, 50)
    assert cfg.optim_wrapper.optimizer.lr == 0.01
    assert f'is {len(file.read_text().splitlines())} lines' in PAGE


def test_the_page_names_what_is_there():
    for name in re.findall(r'(?:configs|tools)/[\w/.-]+\.py', PAGE):
        assert (ROOT / name).is_file(), name
