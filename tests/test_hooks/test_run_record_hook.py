"""What a training is made of is written down, and compared when it goes on."""

import json
import re
import sys
import time
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmseg_ssprompt import main_process
from mmseg_ssprompt.hooks import RunRecordError, run_record_hook
from mmseg_ssprompt.hooks.run_record_hook import (
    _compare,
    _draws,
    _find_types,
    _make_entry,
    _plain,
    _read_settings,
    _sha256,
)
from toy_training import NoisyLine, StopAt, Stops, build_toy, log_of

HOOK = dict(type='RunRecordHook')


class Drawn(NoisyLine):
    """As a few-shot data set that drew."""

    def __init__(self, seed: int) -> None:
        self.drawn = dict(seed=seed, images=['a.png'])


def build(work_dir, *hooks, drawn=None, **settings):
    runner = build_toy(work_dir, HOOK, *hooks, **settings)
    if drawn is not None:
        runner._train_dataloader['dataset'] = Drawn(drawn)
    return runner


def read(work_dir):
    return json.loads((work_dir / 'run.json').read_text())


def stop(runner) -> None:
    with pytest.raises(Stops):
        runner.train()


def test_an_entry_for_each_start(tmp_path):
    stop(build(tmp_path, StopAt(5)))
    build(tmp_path, resume=True).train()
    first, second = read(tmp_path)
    assert (first['iteration'], second['iteration']) == (0, 4)
    assert first['seed'] == 0
    assert first['processes'] == 1
    assert {'python', 'torch', 'mmseg_ssprompt', 'numpy'} <= first['versions'].keys()
    assert first['config']['train_cfg']['max_iters'] == 8
    assert first['few_shot'] == []
    assert first['command'] == sys.argv
    assert first['prompts'] is None
    started = time.mktime(time.strptime(first['started'], '%Y-%m-%d %H:%M:%S'))
    assert 0 <= time.time() - started < 600


@pytest.mark.parametrize('wrapped', [False, True])
def test_an_entry_says_what_the_prompts_are_made_of(tmp_path, monkeypatch, wrapped):
    state_dict = OrderedDict()
    state_dict._metadata = {'': dict(prompts=dict(class_names=['sky']))}
    model = SimpleNamespace(state_dict=lambda: state_dict)
    monkeypatch.setattr(run_record_hook, 'is_model_wrapper', lambda model: hasattr(model, 'module'))
    runner = build(tmp_path)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.model = SimpleNamespace(module=model) if wrapped else model
    assert _make_entry(runner)['prompts'] == dict(class_names=['sky'])


def test_a_resumed_training_says_what_differs(tmp_path):
    stop(build(tmp_path, StopAt(5)))
    train_cfg = dict(type='ResumableTrainLoop', max_iters=10, val_interval=2)
    build(tmp_path, resume=True, train_cfg=train_cfg).train()
    log = log_of(tmp_path)
    assert 'What differs from the training that is resumed:' in log
    assert 'config.train_cfg.max_iters: 8 before, 10 now' in log
    assert 'config.resume' not in log
    assert 'to change what stays in force' not in log


def test_the_same_training_has_nothing_to_say(tmp_path):
    stop(build(tmp_path, StopAt(5)))
    build(tmp_path, resume=True).train()
    assert 'What differs' not in log_of(tmp_path)


def test_another_few_shot_draw_is_refused(tmp_path):
    stop(build(tmp_path, StopAt(5), drawn=1))
    before = read(tmp_path)
    with pytest.raises(RunRecordError, match=r'expected the few-shot draw .*\(SHA-256 .*seed'):
        build(tmp_path, drawn=2, resume=True).train()
    assert read(tmp_path) == before
    build(tmp_path, drawn=1, resume=True).train()
    assert len(read(tmp_path)) == 2


def test_it_is_compared_with_the_training_that_saved_the_checkpoint(tmp_path):
    """Not with one that began anew and was stopped before it saved anything."""
    stop(build(tmp_path, StopAt(5), drawn=1))
    stop(build(tmp_path, StopAt(1), drawn=2))
    with pytest.raises(RunRecordError, match='expected the few-shot draw'):
        build(tmp_path, drawn=2, resume=True).train()
    build(tmp_path, drawn=1, resume=True).train()
    assert [entry['iteration'] for entry in read(tmp_path)] == [0, 0, 4]


ADAMW = dict(optimizer=dict(type='AdamW', lr=0.05))
SCHEDULE = [dict(type='LinearLR', end=6)]


def build_with(work_dir, *hooks, optim_wrapper=ADAMW, param_scheduler=SCHEDULE, **settings):
    runner = build(work_dir, *hooks, **settings)
    runner.cfg.merge_from_dict(dict(optim_wrapper=optim_wrapper))
    runner.cfg.param_scheduler = param_scheduler
    return runner


SGD = dict(optimizer=dict(type='SGD', lr=0.05))


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (dict(optim_wrapper=SGD), r"optim_wrapper: expected .* \(\['AdamW'\]\), found \['SGD'\]"),
        (
            dict(param_scheduler=[dict(type='PolyLR')]),
            r"param_scheduler: expected .* \(\['LinearLR'\]\), found \['PolyLR'\]",
        ),
        (dict(param_scheduler=SCHEDULE * 2), r"found \['LinearLR', 'LinearLR'\]"),
    ],
)
@pytest.mark.parametrize('has_record', [True, False])
def test_other_types_of_optimiser_and_schedulers_are_refused(
    tmp_path, changes, expected, has_record
):
    """Before torch's KeyError of what is not in the state of another optimiser."""
    stop(build_with(tmp_path, StopAt(5)))
    file = tmp_path / 'iter_4.pth'
    checkpoint = torch.load(file, weights_only=True)
    if not has_record:
        del checkpoint['message_hub']['runtime_info']['run_record']
        assert 'AdamW' in checkpoint['meta']['cfg']
        torch.save(checkpoint, file)
    with pytest.raises(RunRecordError, match=rf'{expected}.*begin a training with the prompts'):
        build_with(tmp_path, resume=True, **changes).train()
    build_with(tmp_path, resume=True).train()


def test_settings_in_the_state_stay_those_of_the_checkpoint(tmp_path):
    stop(build_with(tmp_path, StopAt(5)))
    faster = dict(optimizer=dict(type='mmengine.AdamW', lr=0.5), clip_grad=dict(max_norm=1))
    runner = build_with(
        tmp_path, resume=True, optim_wrapper=faster, param_scheduler=dict(type='LinearLR', end=9)
    )
    runner.optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.5))
    runner.train()
    assert runner.optim_wrapper.param_groups[0]['initial_lr'] == 0.05
    log = log_of(tmp_path)
    stays = '(that of the checkpoint stays in force)'
    assert f'config.optim_wrapper.optimizer.lr: 0.05 before, 0.5 now {stays}' in log
    assert re.search(rf'config\.param_scheduler.* now {re.escape(stays)}', log)
    assert 'config.optim_wrapper.clip_grad.max_norm: None before, 1 now\n' in log
    assert 'load_from, without --resume, to change what stays' in log


def test_it_is_compared_without_the_file_too(tmp_path):
    stop(build(tmp_path, StopAt(5), drawn=1))
    (tmp_path / 'run.json').unlink()
    with pytest.raises(RunRecordError, match='expected the few-shot draw'):
        build(tmp_path, drawn=2, resume=True).train()


def test_a_training_that_begins_anew_is_compared_with_nothing(tmp_path):
    stop(build(tmp_path, StopAt(5), drawn=1))
    stop(build(tmp_path, StopAt(5), drawn=2))
    assert 'What differs' not in log_of(tmp_path)


def test_a_record_of_another_kind_is_refused_by_name(tmp_path):
    stop(build(tmp_path, StopAt(5), drawn=1))
    file = tmp_path / 'iter_4.pth'
    checkpoint = torch.load(file, weights_only=True)
    checkpoint['message_hub']['runtime_info']['run_record'] = dict(few_shot='x', config=[1])
    torch.save(checkpoint, file)
    with pytest.raises(RunRecordError, match=r'expected the few-shot draw .* \(x\), found'):
        build(tmp_path, drawn=1, resume=True).train()


def test_what_goes_wrong_in_the_main_process_is_told_to_the_others(tmp_path, monkeypatch):
    told = []

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(run_record_hook, 'write_json', fail)
    monkeypatch.setattr(main_process, 'broadcast_object_list', told.extend)
    with pytest.raises(OSError, match='No space left'):
        build(tmp_path).train()
    assert [type(error) for error in told] == [OSError]


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        ('', 'Expecting value: line 1'),
        ('{"a": 1}', 'expected a list of entries'),
        ('[1]', 'expected a list of entries'),
        ('{', 'Expecting property name'),
    ],
)
def test_a_damaged_record_is_begun_anew(tmp_path, content, problem):
    (tmp_path / 'run.json').write_text(content)
    build(tmp_path).train()
    assert len(read(tmp_path)) == 1
    assert re.search(rf"run\.json' is damaged \({problem}.*\): it is begun", log_of(tmp_path))


def test_draws_inside_of_other_data_sets():
    class Wrapper:
        def __init__(self, dataset):
            self.dataset = dataset

    assert [draw['seed'] for draw in _draws(Wrapper(Wrapper(Drawn(3))))] == [3]
    both = SimpleNamespace(datasets=[Wrapper(Drawn(3)), NoisyLine(), Drawn(4)])
    assert [draw['seed'] for draw in _draws(both)] == [3, 4]


def test_differences_are_listed_by_their_keys():
    before = dict(
        versions=dict(torch='1'), seed=1, config=dict(a=dict(b=1, c=[1, 2]), work_dir='x')
    )
    now = dict(
        versions=dict(torch='2'),
        seed=2,
        processes=4,
        config=dict(a=dict(b=1, c=[1]), d=5, work_dir='y'),
    )
    assert list(_compare(before, now)) == [
        "versions.torch: '1' before, '2' now",
        'seed: 1 before, 2 now',
        'processes: None before, 4 now',
        'config.a.c: [1, 2] before, [1] now',
        'config.d: None before, 5 now',
    ]


def test_a_config_becomes_plain():
    assert _plain(dict(a=(1, None), b={2: NoisyLine})) == dict(a=[1, None], b={'2': str(NoisyLine)})


def test_types_are_found_wherever_they_are():
    """Of several optimisers, and of schedules in a list; scopes and modules do not count."""
    several = dict(
        type='OptimWrapperDict',
        a=dict(optimizer=dict(type='mmengine.AdamW')),
        b=dict(wrappers=[dict(optimizer=dict(type="<class 'torch.optim.sgd.SGD'>"))]),
    )
    assert _find_types(several, 'optimizer.') == ['AdamW', 'SGD']
    assert _find_types([dict(type='LinearLR'), dict(type='PolyLR')], '.') == ['LinearLR', 'PolyLR']
    assert _find_types(dict(type='LinearLR'), '.') == ['LinearLR']


def test_the_record_counts_before_the_text_of_the_config():
    """Which may have been replaced in the work_dir by a training that was refused."""
    record = dict(config=dict(optim_wrapper=SGD, param_scheduler=None, model=dict()))
    checkpoint = dict(
        meta=dict(cfg="optim_wrapper = dict(optimizer=dict(type='AdamW'))"),
        message_hub=dict(runtime_info=dict(run_record=record)),
    )
    assert _read_settings(checkpoint) == dict(optim_wrapper=SGD, param_scheduler=None)
    del checkpoint['message_hub']
    assert _read_settings(checkpoint) == dict(optim_wrapper=dict(optimizer=dict(type='AdamW')))
    checkpoint['meta']['cfg'] = 'optim_wrapper = make()'  # is not run
    assert _read_settings(checkpoint) == {}
    assert _read_settings(dict(meta={})) == {}


def test_a_draw_is_the_same_in_another_order():
    assert _sha256(dict(a=1, b=['x'])) == _sha256(dict(b=['x'], a=1)) != _sha256(dict(a=1, b=['y']))
    assert _sha256(dict(file=Path('a'))) == _sha256(dict(file='a'))
