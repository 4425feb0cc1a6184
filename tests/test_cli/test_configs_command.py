"""The configs of the package are listed, found and inherited from."""

from pathlib import Path

import pytest
from mmengine.config import Config

from commands import run_here
from mmseg_ssprompt import config_files as configs

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / 'configs' / 'ssprompt_sam-tiny_shapes.py'


def test_every_config_is_listed_with_a_line_that_says_what_it_is(capsys):
    run_here('configs')
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    files = [*ROOT.glob('configs/*.py'), *ROOT.glob('configs/ablations/*.py')]
    names = {str(file.relative_to(ROOT / 'configs').with_suffix('')) for file in files}
    assert set(lines) == names
    assert all(len(line) > 10 and 'python ' not in line for line in lines.values())
    assert lines['ssprompt_sam_ade20k'] == 'SAM ViT-B on ADE20K'
    assert lines['ablations/coop_sam-tiny_shapes'].startswith('CoOp: one context for all classes')


@pytest.mark.parametrize(
    'name',
    [
        'ssprompt_sam-tiny_shapes',
        'ssprompt_sam-tiny_shapes.py',
        'configs/ssprompt_sam-tiny_shapes.py',
    ],
)
def test_paths(name, capsys):
    run_here('configs', '--path', name)
    assert capsys.readouterr().out == f'{TINY}\n'


def test_ablations_are_found_without_their_folder(capsys):
    run_here('configs', '--path', 'coop_sam-tiny_shapes')
    assert capsys.readouterr().out.endswith('/configs/ablations/coop_sam-tiny_shapes.py\n')


def test_an_unknown_name_is_told_what_is_similar():
    with pytest.raises(ValueError, match=r"'sam_ade20k': expected .* are ssprompt_sam_ade20k"):
        run_here('configs', '--path', 'sam_ade20k')
    with pytest.raises(ValueError, match="'@': expected a name .*; see the list"):
        run_here('configs', '--path', '@')


@pytest.mark.parametrize(
    ('given', 'written'), [('new/mine.py', 'new/mine.py'), ('.', 'ssprompt_sam-tiny_shapes.py')]
)
def test_a_copy_inherits(tmp_path, monkeypatch, capsys, given, written):
    monkeypatch.chdir(tmp_path)
    run_here('configs', '--copy', TINY.stem, given)
    assert capsys.readouterr().out == f'{Path(given) / TINY.name if given == "." else given}\n'
    assert Config.fromfile(written).to_dict() == Config.fromfile(TINY).to_dict()


def test_a_copy_overwrites_nothing(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text('x = 1\n')
    with pytest.raises(ValueError, match=r"mine\.py' exists: give another name"):
        run_here('configs', '--copy', TINY.stem, file)
    assert file.read_text() == 'x = 1\n'
    with pytest.raises(ValueError, match=r"'mine\.txt': expected a folder, or a name that ends"):
        run_here('configs', '--copy', TINY.stem, 'mine.txt')


def test_an_installed_package_has_its_own(tmp_path, monkeypatch):
    package = tmp_path / 'mmseg_ssprompt'
    monkeypatch.setattr(configs, '__file__', str(package / 'config_files.py'))
    with pytest.raises(FileNotFoundError, match=r'expected configs in \.mim'):
        configs.find_home()
    (tmp_path / 'configs' / '_base_').mkdir(parents=True)
    assert configs.find_home() == tmp_path
    (package / '.mim' / 'configs' / '_base_').mkdir(parents=True)
    assert configs.find_home() == package / '.mim'
