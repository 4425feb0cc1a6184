"""Writes down what a training is made of, and says on resuming what differs."""

import contextlib
import difflib
import hashlib
import importlib.metadata
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..dataset_wrappers import each_layer
from ..files import check_no_folder, write_json
from ..main_process import on_main_process, unwrap_model
from ..module_metadata import get_module_metadata
from ..version import __version__

__all__ = ['RunRecordError', 'RunRecordHook']

#: Key of the entry in the message hub, and so in checkpoints.
_KEY = 'run_record'
_PACKAGES = (
    *('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmcv-lite', 'mmsegmentation'),
    *('onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'segment-anything'),
)
#: What is compared on resuming, and settings that may differ: where a training is, and whether it
#: goes on.
_COMPARED = ('versions', 'seed', 'processes', 'config')
_IGNORED = ('work_dir', 'resume', 'load_from', 'launcher', 'experiment_name')
_HEAD = (
    'What differs from the training that is resumed (settings of the optimiser and of the '
    'schedulers stay those of the checkpoint; to change them, begin a training with load_from, '
    'without --resume):'
)


class RunRecordError(ValueError):
    """A training cannot go on with what it is given now."""


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Adds an entry to ``run.json`` in the work_dir at the start of each training.

    An entry has the config, versions, seed, command line, fingerprints of the base model, class
    names and the few-shot draw. Checkpoints hold it too. When a training is resumed, the entry is
    compared with that of the training that saved the checkpoint: another few-shot draw, and other
    types of optimiser and schedulers, are an error (another base model, other classes and another
    number of prompts are one when the checkpoint is loaded), and the log shows all else that
    differs. For settings of the optimiser and the schedulers it notes that those of the checkpoint
    take precedence.

    Raises:
        RunRecordError: On resuming, if the few-shot draw or one of these types is another.
        IsADirectoryError: If ``run.json`` is a folder.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Refuse the state of other optimisers and schedulers, before it is loaded."""
        if not runner._resume:
            return
        before = checkpoint['message_hub']['runtime_info'].get(_KEY) or {}
        for key, new in _read_types(runner).items():
            old = before.get(key, new)
            if old != new:
                raise RunRecordError(
                    f'{key}: expected the types that the training began with ({old}), found {new}: '
                    'take these to resume, or begin a training with the prompts of this '
                    'checkpoint (load_from, without --resume)'
                )

    def before_train(self, runner: Runner) -> None:
        """Compare, then write."""
        on_main_process(lambda: self._record(runner))

    def _record(self, runner: Runner) -> None:
        entry = _make_entry(runner)
        # The last entry in the file may be of a training that began again and saved nothing.
        before = runner.message_hub.runtime_info.get(_KEY)
        if runner._resume and before is not None:
            old, new = before['few_shot'], entry['few_shot']
            if old != new:
                raise RunRecordError(
                    'train_dataloader: expected the few-shot draw that the training began with '
                    f'({old}), found {new} (SHA-256 of the manifests): keep its manifest, shots '
                    'and seed, or train in another work_dir'
                )
            differences = _compare(before, entry)
            if differences:
                runner.logger.warning('\n  '.join([_HEAD, *differences]))
        file = Path(runner.work_dir) / 'run.json'
        check_no_folder(file)
        write_json([*_read_entries(file), entry], file)
        runner.message_hub.update_info(_KEY, entry)


def _read_entries(file: Path) -> List[Any]:
    try:
        entries: List[Any] = json.loads(file.read_bytes()) if file.is_file() else []
    except ValueError as error:
        raise RunRecordError(
            f'{str(file)!r}: expected the record of earlier trainings, found no JSON ({error}). '
            'Move the file away: training does not need it'
        ) from error
    return entries


def _make_entry(runner: Runner) -> Dict[str, Any]:
    model = unwrap_model(runner.model)
    metadata = get_module_metadata(model.state_dict()).get('', {})
    layers = each_layer(runner.train_dataloader.dataset)
    draws = (getattr(layer, 'drawn', None) for layer in layers)
    return dict(
        started=time.strftime('%Y-%m-%d %H:%M:%S'),
        iteration=runner.iter,
        command=sys.argv,
        versions=_versions(),
        seed=runner.seed,
        processes=get_world_size(),
        prompts=metadata.get('prompts'),
        few_shot=[_sha256(drawn) for drawn in draws if drawn],
        config=json.loads(json.dumps(runner.cfg.to_dict(), default=str)),
        **_read_types(runner),
    )


def _read_types(runner: Runner) -> Dict[str, List[str]]:
    """Names of the types of optimiser and schedulers, whose states fit no other type."""
    return dict(
        optim_wrapper=[type(runner.optim_wrapper.optimizer).__name__],
        param_scheduler=[type(each).__name__ for each in runner.param_schedulers or []],
    )


def _versions() -> Dict[str, str]:
    versions = dict(python=platform.python_version(), mmseg_ssprompt=__version__)
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> List[str]:
    """The lines in which two entries differ, with some around them."""
    old, new = (
        dict(
            {key: entry[key] for key in _COMPARED},
            config={k: v for k, v in entry['config'].items() if k not in _IGNORED},
        )
        for entry in (before, now)
    )
    left, right = (json.dumps(entry, indent=2, sort_keys=True).splitlines() for entry in (old, new))
    return list(difflib.unified_diff(left, right, 'before', 'now', lineterm=''))
