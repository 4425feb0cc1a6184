"""Which checkpoint an interrupted training can go on from."""

import logging
import re
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional

from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from ..weights.checkpoint_loader import load_from_local
from ..weights.state_dicts import CheckpointError

__all__ = [
    'find_newest_checkpoint',
    'find_resume_problem',
    'find_state_problem',
    'list_checkpoints',
]

# Paths to what mmengine's resuming cannot do without, or would go on without saying so.
_NEEDED = (
    'state_dict',
    'meta.epoch',
    'meta.iter',
    'optimizer',
    'message_hub.log_scalars',
    'message_hub.runtime_info',
    'message_hub.resumed_keys',
)


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
    """Say why a training cannot go on from a checkpoint.

    Args:
        checkpoint: As :func:`load_from_local` returns it.
        schedulers: Whether the training has schedulers. Defaults to True.

    Returns:
        What is missing; None if it is complete.
    """
    needed = (*_NEEDED, 'param_schedulers') if schedulers else _NEEDED
    missing = filter(None, (_find_missing(checkpoint, path) for path in needed))
    names = list(dict.fromkeys(missing))
    if not names:
        return None
    return (
        f'expected the state of a training, but {names} are missing (CheckpointHook saves '
        'them unless save_optimizer or save_param_scheduler is False)'
    )


def _find_missing(content: Any, path: str) -> Optional[str]:
    """The part of a path that leads nowhere; None if there is something."""
    keys = path.split('.')
    for depth, key in enumerate(keys, 1):
        content = content.get(key)
        if content is None:
            return '.'.join(keys[:depth])
    return None


def find_resume_problem(checkpoint: Mapping[str, Any], runner: Runner) -> Optional[str]:
    """Say why a runner's training cannot go on from a checkpoint.

    Args:
        checkpoint: As :func:`load_from_local` returns it.
        runner: With its optimiser and schedulers, before they are loaded.

    Returns:
        What was expected and what was found; None if the state fits.
    """
    schedulers = runner.param_schedulers
    problem = find_state_problem(checkpoint, schedulers is not None)
    if problem is not None:
        return problem
    if 'ema_state_dict' in checkpoint and not any(isinstance(h, EMAHook) for h in runner.hooks):
        return (
            'expected no moving average, since there is no EMAHook, found ema_state_dict: the '
            'prompts in state_dict are the average then, and not those that train'
        )
    # Several optimisers, and their schedulers, are in dicts, which torch compares.
    states: Any = checkpoint.get('param_schedulers')
    if isinstance(schedulers, list) and len(schedulers) != len(states):
        return f'param_schedulers: expected those of {len(schedulers)}, found {len(states)}'
    if isinstance(runner.optim_wrapper, OptimWrapper):
        groups = (
            runner.optim_wrapper.optimizer.param_groups,
            checkpoint['optimizer']['param_groups'],
        )
        expected, found = ([len(group['params']) for group in each] for each in groups)
        if expected != found:
            return (
                f'optimizer: expected groups of {expected} parameters, found {found}: other parts '
                'of the model train now'
            )
    return None
