"""Which checkpoint an interrupted training can go on from."""

import logging
import re
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional

from mmengine.logging import print_log

from ..models.checkpoint import CheckpointError
from .checkpoint_loader import load_from_local

__all__ = ['find_missing_state', 'find_newest_checkpoint', 'list_checkpoints']

_NEEDED = ('meta', 'state_dict', 'message_hub')


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


def find_newest_checkpoint(folder: Path, template: str = 'iter_{}.pth') -> Optional[Path]:
    """The newest checkpoint that is complete; the log says which were skipped, and why.

    Args:
        folder: Where they are.
        template: Their name, with ``{}`` for the number of iterations or epochs.

    Returns:
        Its path; None if there is no checkpoint at all.

    Raises:
        CheckpointError: If there are checkpoints, and none is complete.
    """
    skipped = []
    for file in list_checkpoints(folder, template):
        problem = _find_problem(file)
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


def _find_problem(file: Path) -> Optional[str]:
    try:
        content = load_from_local(str(file), 'cpu')
    except (CheckpointError, OSError) as error:
        return str(error)
    return find_missing_state(content)


def find_missing_state(checkpoint: Mapping[str, Any]) -> Optional[str]:
    """Say what a checkpoint lacks for a training to go on from it; None if it lacks nothing."""
    missing = [key for key in _NEEDED if key not in checkpoint]
    if missing:
        return f'expected {list(_NEEDED)}, but {missing} are missing'
    return None
