"""Which checkpoint an interrupted training can go on from."""

import logging
import re
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional

from mmengine.logging import print_log

from ..weights.checkpoint_loader import load_from_local
from ..weights.state_dicts import CheckpointError

__all__ = ['find_newest_checkpoint', 'find_state_problem', 'list_checkpoints']

# What mmengine's resuming cannot do without, or would go on without saying so.
_NEEDED = ('state_dict', 'message_hub', 'optimizer', 'param_schedulers')


def list_checkpoints(folder: Path, template: str = 'iter_{}.pth') -> Iterator[Path]:
    """The paths of a training's checkpoints, the newest first, whether complete or not.

    Args:
        folder: Where they are.
        template: Their name, with ``{}`` for the number of iterations or epochs.
    """
    pattern = re.compile(re.escape(template).replace(re.escape('{}'), r'(\d+)'))
    found = ((pattern.fullmatch(file.name), file) for file in folder.glob('*'))
    numbered = ((int(match.group(1)), file) for match, file in found if match)
    return (file for _, file in sorted(numbered, reverse=True))


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
        try:
            problem = find_state_problem(load_from_local(str(file), 'cpu'), schedulers)
        except (CheckpointError, OSError) as error:
            problem = str(error)
        if problem is None:
            return file
        print_log(f'Skipped {str(file)!r}: {problem}', 'current', logging.WARNING)
        skipped.append(problem)
    if not skipped:
        return None
    raise CheckpointError(
        f'{str(folder)!r}: expected a complete checkpoint to resume from, found '
        f'{len(skipped)} that are not, of which the newest: {skipped[0]}. Train without --resume '
        'to start from scratch, or in another work_dir'
    )


def find_state_problem(checkpoint: Mapping[str, Any], schedulers: bool = True) -> Optional[str]:
    """Say what a training, with schedulers or without, lacks to go on; None if nothing."""
    needed = _NEEDED if schedulers else _NEEDED[:-1]
    missing = [key for key in needed if checkpoint.get(key) is None]
    if not missing:
        return None
    return (
        f'expected the state of a training, but {missing} are missing (CheckpointHook saves them '
        'unless save_optimizer or save_param_scheduler is False)'
    )
