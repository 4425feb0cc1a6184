"""What a training is made of is written down, and compared when it goes on."""

import json
import re
import sys
import time
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmseg_ssprompt import main_process
from mmseg_ssprompt.hooks import RunRecordError, run_record_hook
from mmseg_ssprompt.hooks.run_record_hook import _compare, _make_entry, _sha256
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
    monkeypatch.setattr(main_process, 'is_model_wrapper', lambda model: hasattr(model, 'module'))
    runner = build(tmp_path)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = None
    runner.model = SimpleNamespace(module=model) if wrapped else model
    assert _make_entry(runner)['prompts'] == dict(class_names=['sky'])


def test_a_resumed_training_says_what_differs(tmp_path):
    stop(build(tmp_path, StopAt(5)))
    train_cfg = dict(type='ResumableTrainLoop', max_iters=10, val_interval=2)
    build(tmp_path, resume=True, train_cfg=train_cfg).train()
    log = log_of(tmp_path)
    assert 'What differs from the training that is resumed' in log
    assert re.search(r'  -      "max_iters": 8,\n  \+      "max_iters": 10,\n', log)
    assert '"resume"' not in log


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
    """Not with one that started again and was stopped before it saved anything."""
    stop(build(tmp_path, StopAt(5), drawn=1))
    stop(build(tmp_path, StopAt(1), drawn=2))
    with pytest.raises(RunRecordError, match='expected the few-shot draw'):
        build(tmp_path, drawn=2, resume=True).train()
    build(tmp_path, drawn=1, resume=True).train()
    assert [entry['iteration'] for entry in read(tmp_path)] == [0, 0, 4]


ADAMW = dict(optimizer=dict(type='AdamW', lr=0.05))
SGD = dict(optimizer=dict(type='SGD', lr=0.05))
SCHEDULE = [dict(type='LinearLR', end=6)]


def build_with(work_dir, *hooks, optim_wrapper=ADAMW, param_scheduler=SCHEDULE, **settings):
    runner = build(work_dir, *hooks, **settings)
    runner.optim_wrapper, runner.param_schedulers = optim_wrapper, param_scheduler
    runner.cfg.optim_wrapper, runner.cfg.param_scheduler = optim_wrapper, param_scheduler
    return runner


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (dict(optim_wrapper=SGD), r"optim_wrapper: expected .* \(\['AdamW'\]\), found \['SGD'\]"),
        (
            dict(param_scheduler=[dict(type='PolyLR')]),
            r"param_scheduler: expected .* \(\['LinearLR'\]\), found \['PolyLR'\]",
        ),
    ],
)
def test_other_types_of_optimiser_and_schedulers_are_refused(tmp_path, changes, expected):
    """Before torch's KeyError of what is not in the state of another optimiser."""
    stop(build_with(tmp_path, StopAt(5)))
    with pytest.raises(RunRecordError, match=rf'{expected}.*begin a training with the prompts'):
        build_with(tmp_path, resume=True, **changes).train()
    build_with(tmp_path, resume=True).train()


def test_settings_in_the_state_stay_those_of_the_checkpoint(tmp_path):
    stop(build_with(tmp_path, StopAt(5)))
    faster = dict(optimizer=dict(type='AdamW', lr=0.5), clip_grad=dict(max_norm=1))
    runner = build_with(tmp_path, resume=True, optim_wrapper=faster)
    runner.train()
    assert runner.optim_wrapper.param_groups[0]['initial_lr'] == 0.05
    log = log_of(tmp_path)
    assert re.search(r'-        "lr": 0.05,?\n  \+        "lr": 0.5,?\n', log)
    assert '+        "max_norm": 1' in log
    assert 'settings of the optimiser and of the schedulers stay those of the checkpoint' in log
    assert 'load_from, without --resume' in log


def test_it_is_compared_without_the_file_too(tmp_path):
    stop(build(tmp_path, StopAt(5), drawn=1))
    (tmp_path / 'run.json').unlink()
    with pytest.raises(RunRecordError, match='expected the few-shot draw'):
        build(tmp_path, drawn=2, resume=True).train()


def test_a_training_that_begins_anew_is_compared_with_nothing(tmp_path):
    stop(build(tmp_path, StopAt(5), drawn=1))
    stop(build(tmp_path, StopAt(5), drawn=2))
    assert 'What differs' not in log_of(tmp_path)


def test_what_goes_wrong_in_the_main_process_is_told_to_the_others(tmp_path, monkeypatch):
    told = []

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(run_record_hook, 'write_json', fail)
    monkeypatch.setattr(main_process, 'broadcast_object_list', told.extend)
    with pytest.raises(OSError, match='No space left'):
        build(tmp_path).train()
    assert [type(error) for error in told] == [OSError]


def test_draws_inside_of_other_data_sets(tmp_path):
    class Wrapper(NoisyLine):
        def __init__(self, dataset):
            self.dataset = dataset

    class Both(NoisyLine):
        datasets = [Wrapper(Drawn(3)), NoisyLine(), Drawn(4)]

    runner = build(tmp_path)
    runner._train_dataloader['dataset'] = Both()
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = None
    draws = [_sha256(dict(seed=seed, images=['a.png'])) for seed in (3, 4)]
    assert _make_entry(runner)['few_shot'] == draws


def test_differences_are_shown_with_their_surroundings():
    before = dict(
        versions=dict(torch='1'), seed=1, processes=1, config=dict(a=dict(b=1, c=2), work_dir='x')
    )
    now = dict(
        versions=dict(torch='1'),
        seed=2,
        processes=1,
        config=dict(a=dict(b=1, c=5), work_dir='y'),
    )
    assert _compare(before, before) == []
    lines = _compare(before, now)
    assert [line for line in lines if line[0] in '-+' and line[1] == ' '] == [
        *('-      "c": 2', '+      "c": 5'),
        *('-  "seed": 1,', '+  "seed": 2,'),
    ]
    assert '     "a": {' in lines


def test_a_config_becomes_plain(tmp_path):
    runner = build(tmp_path)
    runner.cfg.model = dict(a=(1, None), b={2: NoisyLine})
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = None
    config = _make_entry(runner)['config']
    assert config['model'] == dict(a=[1, None], b={'2': str(NoisyLine)})


def test_a_draw_is_the_same_in_another_order():
    assert _sha256(dict(a=1, b=['x'])) == _sha256(dict(b=['x'], a=1)) != _sha256(dict(a=1, b=['y']))
    assert _sha256(dict(file=Path('a'))) == _sha256(dict(file='a'))
