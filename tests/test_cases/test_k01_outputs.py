"""Outputs never meet inputs, nor each other: no path that a run reads is ever written."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import mmseg_ssprompt
from commands import run_here
from mmseg_ssprompt.cli.inputs import prepare_outputs
from mmseg_ssprompt.outputs import (
    OutputError,
    ResultNames,
    check_outputs,
    find_inputs,
    find_outputs,
)
from own_photographs import make_photographs, own_config

SAM_TINY = Path(mmseg_ssprompt.__file__).parent / 'assets' / 'sam-tiny_shapes.pth'


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Photographs, label maps, a list of names, prompts and a config, with links to them."""
    root = make_photographs(tmp_path_factory.mktemp('drawn') / 'd').parent
    (root / 'names.txt').write_text('0\n1\n2\n3\n')
    own_config(Path('d'), ann_file='../names.txt').dump(root / 'config.py')
    torch.save(dict(weight=torch.zeros(1)), root / 'prompts.pth')
    return root


@pytest.fixture
def folder(drawn, tmp_path, monkeypatch):
    """A copy for each test, in which tools run."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    (tmp_path / 'links').mkdir()
    for name in ('img', 'ann'):
        (tmp_path / 'links' / name).symlink_to(tmp_path / 'd' / name)
    monkeypatch.chdir(tmp_path)
    for name in ('LOCAL_RANK', 'MASTER_PORT'):
        monkeypatch.setenv(name, '0')
    return tmp_path


@pytest.fixture
def run():
    """Run a command in this process."""
    return run_here


def digests(root):
    """What each file below a folder holds, and which are there."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


#: Each tool that writes into a folder, up to the folder's name.
FOLDER_WRITERS = (
    ('test.py', 'config.py', '--out'),
    ('test.py', 'config.py', '--show-dir'),
    ('test.py', 'config.py', '--overwrite', '--out'),
    ('explain', 'config.py', '--out-dir'),
    ('masks', 'config.py', '--overwrite', '--out-dir'),
    ('failures', 'config.py', '--out-dir'),
)
#: The folders of data, and others through which one comes to them.
FOLDERS = (
    *('d/ann', 'd/img', 'links/ann', 'd/ann/new', './d/../d/img', 'links/img/new/deep', 'd/ann/0'),
    *('links/../d/ann', 'new/../d/ann', 'd'),
)


@pytest.mark.parametrize('command', FOLDER_WRITERS, ids=' '.join)
def test_folders_of_data_are_not_written_into(folder, run, command):
    before = digests(folder)
    for place in FOLDERS:
        with pytest.raises(OutputError, match='Nothing was written|another run'):
            run(*command, place)
    assert digests(folder) == before


#: Each tool that writes a file, up to the file's name, and what the name ends with.
FILE_WRITERS = {
    ('check-data', 'config.py', '--json'): '.json',
    ('few-shot', 'config.py', '--out'): '.json',
    ('prompts convert', 'prompts.pth'): '.pth',
    ('prompts merge', 'config.py', 'prompts.pth'): '.pth',
    ('prompts transfer', 'prompts.pth', 'config.py', '--out'): '.pth',
    ('oracle', 'config.py', 'prompts.pth', '--json'): '.json',
    ('complexity', 'config.py', '--json'): '.json',
    ('complexity', 'config.py', '--out'): '.md',
}


def names_of(target, suffix):
    """Other names of a file, which end as a tool wants them to."""
    hard, symbolic = Path(f'hard {target.stem}{suffix}'), Path(f'symbolic {target.stem}{suffix}')
    symbolic.symlink_to(target.absolute())
    yield from (symbolic, f'links/../{symbolic}', symbolic.absolute())
    if target.parent == Path():  # a file that is read itself, and not through its folder
        os.link(target, hard)
        yield hard


@pytest.mark.parametrize('command', FILE_WRITERS, ids=' '.join)
def test_files_that_are_read_are_not_written(folder, run, command):
    targets = {name for name in ('config.py', 'prompts.pth') if name in command}
    if 'config.py' in command:
        targets |= {'names.txt', 'd/ann/1.png', 'd/img/2.png'}
    links = [name for t in sorted(targets) for name in names_of(Path(t), FILE_WRITERS[command])]
    before = digests(folder)
    for link in links:
        with pytest.raises(OutputError, match='Nothing was written'):
            run(*command, link)
    assert digests(folder) == before


SETTINGS = (
    'test_evaluator.output_dir=d/ann',
    'val_evaluator.output_dir=links/ann/0',
    'visualizer.save_dir=d/img',
    'visualizer.vis_backends.0.save_dir=d/img/x',
    'default_hooks.checkpoint.out_dir=./d/../d/ann',
)


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_settings_that_name_inputs(folder, run, tool):
    before = digests(folder)
    for option in SETTINGS:
        with pytest.raises(OutputError, match=option.split('.')[0]):
            run(tool, 'config.py', '--cfg-options', option)
    assert digests(folder) == before


class TestOtherLetterCase:
    """A file system that takes ``D/ANN`` and ``d/ann`` for the same folder."""

    @pytest.fixture(autouse=True)
    def ignore_case(self, folder, monkeypatch):
        status = os.stat

        def find(path):
            """The path as it is written on the disk."""
            found = Path('/')
            for part in Path(os.path.abspath(path)).parts[1:]:
                names = os.listdir(found) if found.is_absolute() else []
                found /= next((name for name in names if name.lower() == part.lower()), part)
            return found

        def stat(path, *args, **kwargs):
            try:
                return status(path, *args, **kwargs)
            except FileNotFoundError:
                if isinstance(path, int):
                    raise
                monkeypatch.setattr(os, 'stat', status)
                try:
                    return status(find(path), *args, **kwargs)
                finally:
                    monkeypatch.setattr(os, 'stat', stat)

        monkeypatch.setattr(os, 'stat', stat)

    @pytest.mark.parametrize(
        'place', ['D/ANN', 'd/Ann/new', 'LINKS/img', 'Config.PY', 'D/img/0.PNG']
    )
    def test_is_refused(self, folder, place):
        inputs = find_inputs(Config.fromfile('config.py'), files=['config.py'])
        with pytest.raises(OutputError, match='it is|it lies'):
            check_outputs({'--out': Path(place)}, inputs)


def test_a_config_in_its_own_work_dir_stays_as_it_is(folder, run):
    """And so do its bases, though mmengine writes what is in force under the config's name."""
    Path('w').mkdir()
    Path('config.py').rename('w/config.py')
    Path('w/child.py').write_text("_base_ = ['./config.py']\n")
    before = digests(folder)
    run('train.py', 'w/child.py', '--work-dir', 'w')
    run('train.py', 'w/config.py', '--work-dir', 'w', '--resume')
    after = digests(folder)
    assert {name: after[name] for name in before} == before
    assert 'w/iter_2.pth' in after


def test_training_does_not_write_over_the_prompts_that_it_begins_with(folder, run):
    run('train.py', 'config.py', '--work-dir', 'w')
    before = Path('w/iter_2.pth').read_bytes()
    option = 'load_from=./w/../w/iter_2.pth'
    with pytest.raises(OutputError, match=r"iter_2\.pth' is load_from, .*expected it outside of"):
        run('train.py', 'config.py', '--work-dir', 'w', '--cfg-options', option)
    assert Path('w/iter_2.pth').read_bytes() == before


def test_base_names_of_mmsegs_own_evaluator(folder, run):
    """It writes by base names: two images of one name would share a file."""
    make_photographs(Path('d'), 2, 'img/deep', 'ann/deep')
    options = ('test_evaluator.type=IoUMetric', 'test_evaluator.output_dir=out')
    with pytest.raises(OutputError, match=r"deep/0\.png'.* type='GroupedIoUMetric'"):
        run('test.py', 'config.py', '--cfg-options', *options, 'test_dataloader.dataset.ann_file=')


def test_the_built_data_set_says_where_it_reads(folder, run):
    """Here a list of names leads out of the folder that the config names."""
    make_photographs(Path('e'))
    Path('names.txt').write_text('../../e/img/0\n')
    options = (
        'test_evaluator.output_dir=e/img',
        'test_dataloader.dataset.data_prefix.seg_map_path=',
    )
    before = digests(folder)
    with pytest.raises(OutputError, match='test_evaluator.output_dir=.*lies in a folder of data'):
        run('test.py', 'config.py', '--cfg-options', *options)
    after = digests(folder)
    assert {name: after[name] for name in before} == before


def test_where_links_in_folders_of_data_lead_to(folder, run):
    """Splits are often folders of links to one store."""
    Path('d/img').rename('store')
    Path('d/img').mkdir()
    for file in Path('store').iterdir():
        (Path('d/img') / file.name).symlink_to(file.absolute())
    before = digests(folder)
    with pytest.raises(OutputError, match=r"output_dir='store': .*lies in a folder of data"):
        run('test.py', 'config.py', '--cfg-options', 'test_evaluator.output_dir=store')
    after = digests(folder)
    assert {name: after[name] for name in before} == before


def test_other_folders_are_allowed(folder):
    inputs = find_inputs(Config.fromfile('config.py'), files=['config.py'])
    for place in ('out', 'd/predictions', 'd/img2', 'd/ann_new/x', '../elsewhere'):
        check_outputs({'--out': Path(place)}, inputs, ['--out'])
    assert not Path('out').exists()


def test_a_folder_with_results_of_another_run(folder):
    Path('out/deep').mkdir(parents=True)
    Path('out/deep/0.png').write_bytes(b'')
    inputs = find_inputs(Config.fromfile('config.py'))
    said = r"files of another run, such as 'out/deep/0\.png'.*--overwrite"
    with pytest.raises(OutputError, match=said):
        check_outputs({'--out': Path('out')}, inputs, ['--out'])
    check_outputs({'--out': Path('out')}, inputs, ['--out'], overwrite=True)


def test_a_folder_that_contains_the_data(folder):
    inputs = find_inputs(Config.fromfile('config.py'))
    with pytest.raises(OutputError, match='it contains a folder of data .*d/'):
        check_outputs({'--out': folder}, inputs, ['--out'], overwrite=True)


def test_two_outputs_in_one_place(folder):
    outputs = {'--out': Path('out'), '--show-dir': Path('x/../out')}
    with pytest.raises(OutputError, match='--out writes there too'):
        prepare_outputs(outputs, find_inputs(), outputs)


def test_bases_of_a_config_are_inputs(folder):
    Path('child.py').write_text("_base_ = ['./config.py']\n")
    with pytest.raises(OutputError, match='the config, or one of its bases'):
        check_outputs({'--json': Path('config.py')}, find_inputs(Config.fromfile('child.py')))


def test_data_sets_in_wrappers_and_caches_are_inputs(folder):
    Path('nyu/images').mkdir(parents=True)
    Path('nyu/annotations').mkdir()
    leaf = dict(type='NYUDataset', data_root='nyu')
    embedded = dict(type='EmbeddedDataset', cache_dir='cache/train', dataset=leaf)
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type='Concat', datasets=[embedded]))))
    folders = {str(path) for path in find_inputs(cfg).folders}
    assert {'cache/train', 'nyu/images', 'nyu/annotations'} <= folders


def test_folders_that_a_data_set_of_ones_own_names(folder):
    dataset = dict(type='MyDataset', img_dir='d/img', ann_dir='d/ann', pipeline=[])
    cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
    with pytest.raises(OutputError, match=r'folder of data \(ann_dir\)'):
        check_outputs({'--out': Path('d/ann')}, find_inputs(cfg), ['--out'], overwrite=True)


@pytest.mark.parametrize('setting', ['default_hooks.checkpoint.out_dir=ck', 'work_dir=ck/w'])
def test_weights_with_the_name_of_a_checkpoint(folder, run, setting):
    """They would be replaced by a checkpoint of that iteration."""
    Path('ck/w').mkdir(parents=True)
    Path('ck/w/iter_2.pth').write_bytes(SAM_TINY.read_bytes())
    before = digests(folder)
    options = (setting, 'model.weights.sam=ck/w/iter_2.pth')
    with pytest.raises(OutputError, match=r"iter_2\.pth' is model.weights.sam"):
        run('train.py', 'config.py', *arguments_of(setting), '--cfg-options', *options)
    after = digests(folder)
    assert {name: after[name] for name in before} == before


def arguments_of(setting):
    return () if setting.startswith('work_dir') else ('--work-dir', 'w')


def test_settings_that_are_one_and_the_same(folder):
    """A config's ``test_evaluator = val_evaluator``, and its backends inside of the visualiser."""
    backends = [dict(type='LocalVisBackend', save_dir='x')]
    evaluator = dict(type='GroupedIoUMetric', output_dir='out')
    cfg = Config(
        dict(
            vis_backends=backends,
            visualizer=dict(type='SegLocalVisualizer', vis_backends=backends),
            val_evaluator=evaluator,
            test_evaluator=evaluator,
        )
    )
    check_outputs(find_outputs(cfg), find_inputs(cfg))


def test_outputs_of_lists_are_found():
    cfg = Config(
        dict(test_evaluator=[dict(type='A'), dict(type='DumpResults', out_file_path='x.pkl')])
    )
    assert find_outputs(cfg) == {'test_evaluator[1].out_file_path': Path('x.pkl')}


class Images:
    """All that is asked of a data set."""

    def __init__(self, *paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, index):
        return dict(img_path=self.paths[index])


class Both:
    """Data sets in a wrapper."""

    def __init__(self, *datasets):
        self.datasets = datasets


@pytest.mark.parametrize(
    ('dataset', 'expected'),
    [
        (Images('/d/img/a/0.png', '/d/img/b/0.png', '/d/img/b/1.jpg'), ['a/0', 'b/0', 'b/1']),
        (Both(Images('/x/one/0.png'), Images('/x/two/0.png')), ['one/0', 'two/0']),
        (Both(Images('/d/img/0.png', '/d/img/0.png'), Images('/e/0.png')), ['d/img/0', 'e/0']),
    ],
)
def test_results_keep_their_folders(dataset, expected):
    names = ResultNames(dataset)
    images = sorted(
        {path for each in getattr(dataset, 'datasets', [dataset]) for path in each.paths}
    )
    assert [names(image) for image in images] == expected


def test_images_that_differ_in_their_suffix_alone():
    with pytest.raises(OutputError, match=r"'/d/0\.jpg' and '/d/0\.png' would share a file"):
        ResultNames(Images('/d/0.png', '/d/0.jpg'))


def test_one_output_inside_of_another(folder):
    outputs = {'--out': Path('o'), '--show-dir': Path('o/vis')}
    with pytest.raises(OutputError, match="--out writes there too, into 'o'"):
        prepare_outputs(outputs, find_inputs(), outputs)
    prepare_outputs({'--out': Path('o/a.md'), '--json': Path('o/a.json')}, find_inputs())


def test_a_folder_that_a_metric_may_clear(folder):
    """mmseg's CityscapesMetric removes its folder at the end, with all that is in it."""
    Path('cm').mkdir()
    Path('prompts.pth').rename('cm/prompts.pth')
    inputs = find_inputs(files=['cm/prompts.pth'])
    with pytest.raises(OutputError, match=r"it contains a file that is read, 'cm/prompts\.pth'"):
        check_outputs({'test_evaluator.output_dir': Path('cm')}, inputs)
    check_outputs({'default_hooks.checkpoint.out_dir': Path('cm')}, inputs)


def test_any_setting_of_a_hook_that_may_be_an_output(folder):
    hooks = [dict(type='ProfilerHook', on_trace_ready=dict(json_trace_path='d/ann/0.png'))]
    cfg = Config(dict(custom_hooks=hooks))
    with pytest.raises(OutputError, match='json_trace_path=.*folder of data'):
        check_outputs(find_outputs(cfg), find_inputs(Config.fromfile('config.py')))
