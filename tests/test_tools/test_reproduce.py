"""Studies: the statistics, the report, and runs that are run once."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'train_dataloader.dataset.num_images=4',
    'train_dataloader.batch_size=2',
    'val_dataloader.dataset.num_images=2',
    'test_dataloader.dataset.num_images=2',
    'param_scheduler.1.end=2',
    'param_scheduler.0.end=1',
    'param_scheduler.1.begin=1',
)


@pytest.fixture(autouse=True)
def tools_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    yield
    for name in [name for name in sys.modules if name.split('.')[0] in ('studies', 'records')]:
        del sys.modules[name]


def make_row(name, config='ssprompt_sam-tiny_shapes.py', **kwargs):
    from studies.definitions import StudyRow

    return StudyRow(name, config, SMALL, **kwargs)


def test_interval_by_hand():
    from studies.report import mean_and_interval

    mean, half = mean_and_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    # t(0.975, 2) = 4.3027; the standard error is 1 / sqrt(3)
    assert half == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert np.isnan(mean_and_interval([1.0])[1])


def test_every_row_has_a_config_and_every_study_its_reference():
    from studies.definitions import STUDIES

    for study in STUDIES.values():
        names = [row.name for row in study.rows]
        assert len(set(names)) == len(names)
        assert study.reference in names
        assert all((ROOT / 'configs' / row.config).is_file() for row in study.rows)


def test_a_study_from_runs_to_its_page(tmp_path, monkeypatch, capsys):
    import reproduce
    from studies.definitions import Study

    zero_shot = make_row('zero-shot', 'ssprompt_sam-tiny_shapes_zero-shot.py', trains=False)
    study = Study('A study', 'learned', (zero_shot, make_row('learned')))
    monkeypatch.setattr(reproduce, 'STUDIES', dict(small=study))
    monkeypatch.setattr(reproduce, 'LEARNING_RATES', (1e-9, 1e-2))
    command = ['reproduce.py', 'small', '--seeds', '0', '1', '--jobs', '2']
    command += ['--work-dir', str(tmp_path / 'work'), '--out-dir', str(tmp_path / 'evidence')]
    monkeypatch.setattr(sys, 'argv', command)
    reproduce.main()
    content = json.loads((tmp_path / 'evidence' / 'small.json').read_text())
    assert content['study'] == 'small'
    assert content['seeds'] == [0, 1]
    handcrafted, learned = content['rows']
    assert handcrafted['trainable_parameters'] == 0
    assert handcrafted['miou'][0] == handcrafted['miou'][1]  # nothing depends on the seed
    assert learned['trainable_parameters'] == 13002
    assert learned['learning_rate'] in (1e-9, 1e-2)
    assert len(learned['miou']) == len(learned['train_seconds']) == 2
    page = (tmp_path / 'evidence' / 'small.md').read_text()
    assert '| zero-shot |' in page
    assert 'python tools/reproduce.py small --seeds 0 1' in page
    assert (tmp_path / 'evidence' / 'small.png').stat().st_size > 5000

    printed = capsys.readouterr().out
    assert '[4/4]' in printed
    monkeypatch.setattr('subprocess.run', lambda *args, **kwargs: pytest.fail('run again'))
    reproduce.main()  # everything is there already


def test_a_run_that_fails_says_why_and_leaves_no_result(tmp_path):
    from studies.runs import Run

    row = make_row('broken', 'no_such_config.py')
    run = Run(row, 0, 1e-2, tmp_path)
    with pytest.raises(RuntimeError, match=r'no_such_config\.py'):
        run.execute(threads=1)
    assert not run.result_file.exists()
