"""Files of CLIP: one holds the image tower and the text tower."""

from os import PathLike
from typing import Dict, Optional, Union

from torch import Tensor

from .checkpoint import is_torchscript_archive, read_checkpoint, resolve_checkpoint_path
from .torchscript import read_torchscript_tensors

__all__ = ['read_clip_file']


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
