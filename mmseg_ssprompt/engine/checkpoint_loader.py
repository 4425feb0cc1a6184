"""How mmengine reads checkpoint files from disk: without running anything in them."""

from pathlib import Path
from typing import Any, Dict, Mapping

import torch
from mmengine.runner import CheckpointLoader

from ..models.checkpoint import CheckpointError, name_file, read_safetensors_file, read_torch_file
from ..models.safetensors_file import SUFFIX

__all__ = ['load_from_local']


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Read a local checkpoint of tensors and plain values, and check that it is undamaged.

    It takes the place of mmengine's own loader of local files, which leaves ``weights_only`` to
    torch (before 2.6: a file may run code), or in the OneDL fork falls back to an unsafe load, and
    which does not compare the checksums.

    Args:
        filename: Path of the file, where ``~`` is the home directory; one that ends with
            ``.safetensors`` has a state dict and ``meta``, and no state of a training.
        map_location: As for ``torch.load``.

    Returns:
        The content, whose state dict says what file it is from.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged, or holds Python objects; mmengine's own
            checkpoints do (the history of the log), those of :class:`PromptCheckpointHook` do not.
    """
    file = Path(filename).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f'checkpoint {str(file)!r} does not exist')
    if file.suffix == SUFFIX:
        state_dict, meta = read_safetensors_file(file)
        return dict(meta=meta, state_dict=_move(name_file(state_dict, file), map_location))
    # Not memory-mapped: a resumed optimiser keeps the tensors, and the file may be written over.
    content = read_torch_file(file, map_location, mmap=False, verify=True)
    if not isinstance(content, dict):
        raise CheckpointError(
            f'checkpoint {str(file)!r}: expected a dict, as mmengine saves it, found a '
            f'{type(content).__name__}'
        )
    if isinstance(content.get('state_dict'), Mapping):
        return dict(content, state_dict=name_file(content['state_dict'], file))
    return name_file(content, file)


def _move(state_dict: Dict[str, Any], map_location: Any) -> Dict[str, Any]:
    """Copies of memory-mapped tensors, on a device."""
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    for key, value in state_dict.items():
        state_dict[key] = value.to(device, copy=True)
    return state_dict
