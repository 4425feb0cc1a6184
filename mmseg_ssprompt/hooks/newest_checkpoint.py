"""Which checkpoint an interrupted training can go on from."""

import logging
import re
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional

from mmengine.logging import print_log

from ..plain import find_misfit
from ..weights.checkpoint_kinds import TRAINING
from ..weights.checkpoint_loader import load_from_local
from ..weights.state_dicts import CheckpointError

__all__ = ['find_missing_state', 'find_newest_checkpoint', 'list_checkpoints']

# Paths to what mmengine's resuming cannot do without, or would go on without saying so.
_NEEDED = (
    *('state_dict', 'meta.epoch', 'meta.iter', 'optimizer'),
    *('message_hub.log_scalars', 'message_hub.runtime_info', 'message_hub.resumed_keys'),
)
_SCHEDULERS = 'param_schedulers'


def list_checkpoints(folder: Path, template: str = 'iter_{}.pth') -> Iterator[Path]:
    """Checkpoints of a training, the newest first, whether complete or not.

    Args:
        folder: Where they are.
        template: Their name, with ``{}`` for the number of iterations or epochs.

    Yields:
        Paths.
    """
    pattern = re.compile(re.escape(template).replace(re.escape('{}'), r'(\d+)'))
    numbered = []
    for file in folder.glob('*') if folder.is_dir() else ():
        match = pattern.fullmatch(file.name)
        if match:
            numbered.append((int(match.group(1)), file))
    for _, file in sorted(numbered, reverse=True):
        yield file


def find_newest_checkpoint(
    folder: Path, template: str = 'iter_{}.pth', schedulers: bool = True
) -> Optional[Path]:
    """The newest checkpoint that is complete; the log says which were skipped, and why.

    Args:
        folder: Where they are.
        template: Their name, with ``{}`` for the number of iterations or epochs.
        schedulers: Whether the training has schedulers. Defaults to True.

    Returns:
        Its path; None if there is no checkpoint at all.

    Raises:
        CheckpointError: If there are checkpoints, and none is complete.
    """
    skipped = []
    for file in list_checkpoints(folder, template):
        problem = _find_problem(file, schedulers)
        if problem is None:
            return file
        print_log(f'Skipped {str(file)!r}: {problem}', 'current', logging.WARNING)
        skipped.append(problem)
    if not skipped:
        return None
    raise CheckpointError(
        f'{str(folder)!r}: expected a complete checkpoint to resume from, found '
        f'{len(skipped)} that are not, of which the newest: {skipped[0]}. Train without --resume '
        'to start anew, or in another work_dir'
    )


def _find_problem(file: Path, schedulers: bool) -> Optional[str]:
    try:
        content = load_from_local(str(file), 'cpu')
    except (CheckpointError, OSError) as error:
        return str(error)
    return find_missing_state(content, schedulers)


def find_missing_state(checkpoint: Mapping[str, Any], schedulers: bool = True) -> Optional[str]:
    """Say why a training cannot go on from a checkpoint.

    Args:
        checkpoint: As :func:`load_from_local` returns it.
        schedulers: Whether the training has schedulers. Defaults to True.

    Returns:
        What is missing, or of another kind than expected; None if it is complete.
    """
    needed = (*_NEEDED, _SCHEDULERS) if schedulers else _NEEDED
    missing = list(filter(None, (_find_missing(checkpoint, path) for path in needed)))
    if missing:
        missing = list(dict.fromkeys(missing))
        return (
            f'expected the state of a training, but {missing} are missing (CheckpointHook saves '
            'them unless save_optimizer or save_param_scheduler is False)'
        )
    return find_misfit(checkpoint, TRAINING)


def _find_missing(content: Any, path: str) -> Optional[str]:
    """The part of a path that leads nowhere; None if there is something, of whatever kind."""
    keys = path.split('.')
    for depth, key in enumerate(keys, 1):
        if not isinstance(content, Mapping):
            return None
        content = content.get(key)
        if content is None:
            return '.'.join(keys[:depth])
    return None
