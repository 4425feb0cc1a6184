"""How our own runs read checkpoint files: from disk alone, without running anything in them."""

import contextlib
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

import torch
from mmengine.runner import CheckpointLoader

from ..plain import DICT, NAMES, Kind, find_problem
from .hub import HUB_SCHEME
from .prompt_places import find_prompt_file
from .safetensors_file import SUFFIX
from .state_dicts import CheckpointError, name_file, read_safetensors_file, read_torch_file

__all__ = ['load_from_local', 'safe_checkpoint_loading']

# mmengine's names of what is fetched from elsewhere, which are regular expressions.
_REMOTE = ('http://', 'https://', 'pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://')
# Local files only: a URL goes to the loader of its scheme.
_SAFETENSORS = rf'(?!\S+://).*\{SUFFIX}$'

_STATE_DICT = Kind(
    'a state dict (a dict of tensors by name)',
    lambda value: isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
)
#: What mmengine's checkpoints hold, as far as it is used without being looked at.
_CHECKPOINT = {
    'state_dict': _STATE_DICT,
    'ema_state_dict': _STATE_DICT,
    'meta': DICT,
    'meta.dataset_meta': DICT.or_none(),
    'meta.dataset_meta.classes': NAMES.or_none(),
    'message_hub': DICT.or_none(),
}


@contextlib.contextmanager
def safe_checkpoint_loading() -> Iterator[None]:
    """Let mmengine read checkpoints by :func:`load_from_local`, and refuse URLs.

    mmengine's own loader of local files leaves ``weights_only`` to torch (before 2.6: a file may
    run code), or in the OneDL fork falls back to an unsafe load; it compares no checksums. Our own
    tools and runs read within this context. For mmseg's functions it is there to be used::

        with safe_checkpoint_loading():
            model = init_model(config, checkpoint)

    Afterwards all loaders are what they were, also after an error.
    """
    loaders: Dict[str, Callable[..., Any]] = {'': load_from_local}
    loaders.update(dict.fromkeys(_REMOTE, _refuse_url))
    # No public function tells which loader a scheme has (mmengine 0.10, OneDL 0.12).
    before = {key: CheckpointLoader._schemes[key] for key in loaders}
    CheckpointLoader._schemes.update(loaders)
    try:
        yield
    finally:
        CheckpointLoader._schemes.update(before)


def _refuse_url(filename: str, map_location: Any = None) -> None:
    raise CheckpointError(
        f'checkpoint {filename!r}: expected the path of a local file, found a URL. Download it, '
        'compare its SHA-256 with what its publisher says, and give its path'
    )


@CheckpointLoader.register_scheme(prefixes=[_SAFETENSORS, HUB_SCHEME])  # mmengine reads neither
def load_from_local(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Read a local checkpoint of tensors and plain values, and check that it is undamaged.

    Args:
        filename: Path of the file, where ``~`` is the home directory, or what else
            :func:`find_prompt_file` takes; a file that ends with ``.safetensors`` has a state dict
            and ``meta``, and no state of a training.
        map_location: As for ``torch.load``.

    Returns:
        The content, which has ``meta`` and ``state_dict``, also of a file that is a state dict
        itself. The state dict says what file it is from.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be fetched, is damaged, holds other things than
            mmengine's checkpoints, or Python objects; mmengine's own checkpoints do (the history of
            the log), those of :class:`PromptCheckpointHook` do not.
    """
    file = find_prompt_file(filename)
    if not file.is_file():
        raise FileNotFoundError(f'checkpoint {str(file)!r} does not exist')
    if file.suffix == SUFFIX:
        state_dict, meta = read_safetensors_file(file)
        device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
        moved = name_file(state_dict, file)
        for key, value in moved.items():  # of memory-mapped tensors
            moved[key] = value.to(device, copy=True)
        return dict(meta=meta, state_dict=moved)
    # Not memory-mapped: a resumed optimiser keeps the tensors, and the file may be written over.
    content = read_torch_file(file, map_location, mmap=False, verify=True)
    if not isinstance(content, dict):
        raise CheckpointError(
            f'checkpoint {str(file)!r}: expected a dict, as mmengine saves it, found a '
            f'{type(content).__name__}'
        )
    if 'state_dict' not in content:
        content = dict(state_dict=content)
    content['meta'] = {} if content.get('meta') is None else content['meta']
    problem = find_problem(content, _CHECKPOINT) or _find_other_names(content)
    if problem is not None:
        raise CheckpointError(
            f'checkpoint {str(file)!r}: {problem}; expected what mmengine saves, or a state dict '
            'alone: save it so'
        )
    # On resuming, mmengine would run this text as a program.
    meta = {key: value for key, value in content['meta'].items() if key != 'config'}
    return dict(content, meta=meta, state_dict=name_file(content['state_dict'], file))


def _find_other_names(content: Mapping[str, Any]) -> Optional[str]:
    """Say what mmengine's EMAHook, which swaps both state dicts by name, would not find."""
    names = (key for key in content.get('ema_state_dict', ()) if key.startswith('module.'))
    for name in names:
        if name[len('module.') :] not in content['state_dict']:
            return f'ema_state_dict: expected the names of state_dict, found {name!r}'
    return None
