"""Files of CLIP: one holds the image tower and the text tower."""

import re
from os import PathLike
from typing import Dict, Optional, Sequence, Tuple, Union

from torch import Tensor

from .checkpoint import is_torchscript_archive, read_checkpoint, resolve_checkpoint_path
from .torchscript import read_torchscript_tensors

__all__ = ['read_clip_file', 'rename_in_block']


def read_clip_file(
    checkpoint: Union[str, 'PathLike[str]'], official_file: Optional[str]
) -> Dict[str, Tensor]:
    """Read the tensors of OpenAI's own file, a TorchScript archive, or of a plain state dict.

    Args:
        checkpoint: Path of the file, or ``mmseg_ssprompt://NAME``.
        official_file: Name of the file to get if there is none; None for a variant that OpenAI
            has not published.

    Returns:
        Tensors by the names in the file.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read.
    """
    file = resolve_checkpoint_path(checkpoint)
    if is_torchscript_archive(file):
        return read_torchscript_tensors(file)
    if official_file is None:
        remedy = 'This variant comes with the package: give mmseg_ssprompt://NAME.'
    else:
        remedy = f'Download {official_file} of github.com/openai/CLIP and give its path.'
    return read_checkpoint(checkpoint, remedy=remedy)


def rename_in_block(key: str, prefix: str, names: Sequence[Tuple[str, str]]) -> Optional[str]:
    """Give a weight of a transformer's block another name.

    Args:
        key: OpenAI's name, without the tower's prefix.
        prefix: What stands before the number of the block in the other name.
        names: What names inside a block begin with, OpenAI's and the other.

    Returns:
        The other name; None if it is no weight of a block, or one that is not known.
    """
    match = re.match(r'transformer\.resblocks\.(\d+)\.(.+)', key)
    layer, name = match.groups() if match else ('', '')
    for old, new in names:
        if name.startswith(old):
            return f'{prefix}{layer}.{new}{name[len(old) :]}'
    return None
