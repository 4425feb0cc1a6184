"""Writes down what a training is made of, and says on resuming what differs."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..files import check_no_folder, write_json
from ..main_process import on_main_process
from ..prompt_files.config_text import read_setting
from ..version import __version__

__all__ = ['RunRecordError', 'RunRecordHook']

_FILE = 'run.json'
#: Of the entry in the message hub, and so in checkpoints.
_KEY = 'run_record'
_PACKAGES = (
    *('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmcv-lite', 'mmsegmentation'),
    *('onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'segment-anything'),
)
#: Settings of what has a state in checkpoints, and what stands before the names of its types.
_WITH_STATE = {'optim_wrapper': 'optimizer.', 'param_scheduler': '.'}
#: What says nothing of a training: where it is, and whether it goes on.
_IGNORED = ('work_dir', 'resume', 'load_from', 'launcher', 'experiment_name')


_STAYS = ' (that of the checkpoint stays in force)'
_REMEDY = 'Begin a training with load_from, without --resume, to change what stays in force'


class RunRecordError(ValueError):
    """A training cannot go on with what it is given now."""


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Adds an entry to ``run.json`` in the work_dir at the start of each training.

    An entry has the config, versions, seed, command line, fingerprints of the base model, class
    names and the few-shot draw. Checkpoints hold it too. When a training is resumed, the entry is
    compared with that of the training that saved the checkpoint: another few-shot draw, and other
    types of optimiser and schedulers, are an error (another base model, other classes and another
    number of prompts are one when the checkpoint is loaded), and the log lists all else that
    differs. Of settings of the optimiser and the schedulers it says that those of the checkpoint
    stay in force.

    Raises:
        RunRecordError: On resuming, if the few-shot draw or one of these types is another.
        IsADirectoryError: If ``run.json`` is a folder.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Refuse the state of other optimisers and schedulers, before it is loaded."""
        if runner._resume:
            _check_types(_read_settings(checkpoint), runner.cfg.to_dict())

    def before_train(self, runner: Runner) -> None:
        """Compare, then write."""
        on_main_process(lambda: self._record(runner))

    def _record(self, runner: Runner) -> None:
        entry = _make_entry(runner)
        # The last entry in the file may be of a training that began anew and saved nothing.
        before = runner.message_hub.runtime_info.get(_KEY)
        if runner._resume and isinstance(before, Mapping):
            _check_draw(before, entry)
            differences = list(_compare(before, entry))
            if differences:
                stay = any(line.endswith(_STAYS) for line in differences)
                remedy = [_REMEDY] if stay else []
                text = '\n  '.join(
                    ['What differs from the training that is resumed:', *differences, *remedy]
                )
                runner.logger.warning(text)
        file = Path(runner.work_dir) / _FILE
        check_no_folder(file)
        write_json([*_read(file, runner), entry], file)
        runner.message_hub.update_info(_KEY, entry)


def _check_draw(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = before.get('few_shot'), now['few_shot']
    if old != new:
        raise RunRecordError(
            'train_dataloader: expected the few-shot draw that the training began with '
            f'({old}), found {new} (SHA-256 of the manifests): keep its manifest, shots and seed, '
            'or train in another work_dir'
        )


def _read_settings(checkpoint: Mapping[str, Any]) -> Dict[str, Any]:
    """What a checkpoint says of the types of optimisers and schedulers, as far as it does."""
    content: Any = checkpoint
    for key in ('message_hub', 'runtime_info', _KEY, 'config'):
        content = content.get(key) if isinstance(content, Mapping) else None
    if isinstance(content, Mapping):
        return {key: content.get(key) for key in _WITH_STATE}
    text = checkpoint['meta'].get('cfg', '')
    found = {}
    for key in _WITH_STATE:
        with contextlib.suppress(KeyError, ValueError):
            found[key] = read_setting(text, key)
    return found


def _check_types(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the types of optimisers and schedulers, whose states fit no other type."""
    for key, part in _WITH_STATE.items():
        if key in before:
            old, new = (_find_types(config.get(key), part) for config in (before, now))
            if old != new:
                raise RunRecordError(
                    f'{key}: expected the types that the training began with ({old}), found {new}: '
                    'take these to resume, or begin a training with the prompts of this '
                    'checkpoint (load_from, without --resume)'
                )


def _find_types(settings: Any, part: str) -> List[str]:
    """Names of types, without the modules that they are in."""
    leaves = _flatten(_plain(settings), 'settings', lists=True)
    texts = [str(value) for name, value in leaves if name.endswith(f'{part}type')]
    return [re.findall(r'\w+', text)[-1] for text in texts if re.search(r'\w', text)]


def _make_entry(runner: Runner) -> Dict[str, Any]:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    metadata = getattr(model.state_dict(), '_metadata', {}).get('', {})
    return dict(
        started=time.strftime('%Y-%m-%d %H:%M:%S'),
        iteration=runner.iter,
        command=sys.argv,
        versions=dict(_versions()),
        seed=runner.seed,
        processes=get_world_size(),
        prompts=metadata.get('prompts'),
        few_shot=[_sha256(drawn) for drawn in _draws(runner.train_dataloader.dataset)],
        config=_plain(runner.cfg.to_dict()),
    )


def _versions() -> Iterator[Tuple[str, str]]:
    yield 'python', platform.python_version()
    yield 'mmseg_ssprompt', __version__
    for package in _PACKAGES:
        try:
            yield package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue


def _draws(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """What few-shot data sets have drawn, inside of other data sets too."""
    if getattr(dataset, 'drawn', None):
        yield dataset.drawn
    for inner in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if inner is not None:
            yield from _draws(inner)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """What JSON has a place for; the rest as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, (type(None), bool, int, float, str)) else str(value)


def _read(file: Path, runner: Runner) -> List[Dict[str, Any]]:
    """Earlier entries."""
    if not file.is_file():
        return []
    try:
        entries = json.loads(file.read_text(encoding='utf-8'))
        if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            return entries
        problem = 'expected a list of entries'
    except ValueError as error:
        problem = str(error)
    runner.logger.warning(f'{str(file)!r} is damaged ({problem}): it is begun anew')
    return []


def _compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in ('versions', 'seed', 'processes', 'config'):
        old, new = (dict(_flatten(entry.get(key), key)) for entry in (before, now))
        for name in sorted({*old, *new}):
            if name.split('.')[1:2] and name.split('.')[1] in _IGNORED:
                continue
            if old.get(name) != new.get(name):
                stays = _STAYS if _stays(name) else ''
                yield f'{name}: {old.get(name)!r} before, {new.get(name)!r} now{stays}'


def _stays(name: str) -> bool:
    """Whether a setting is in the state of the optimiser or of the schedulers, which is loaded."""
    pattern = r'config\.(optim_wrapper\..*(optimizer|paramwise_cfg)|param_scheduler)\b'
    return re.match(pattern, name) is not None


def _flatten(value: Any, name: str, lists: bool = False) -> Iterator[Tuple[str, Any]]:
    """The values in dicts, and in lists if they are asked for, by their paths."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _flatten(entry, f'{name}.{key}', lists)
    elif lists and isinstance(value, (list, tuple)):
        for number, entry in enumerate(value):
            yield from _flatten(entry, f'{name}.{number}', lists)
    else:
        yield name, value
