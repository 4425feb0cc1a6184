"""Checkpoints behind URLs: refused, since mmengine would read them without the local checks."""

from typing import Any

from mmengine.runner import CheckpointLoader

from .state_dicts import CheckpointError

__all__ = ['refuse_url']

# As mmengine writes them, and as regular expressions: other spellings would not replace its own.
_PREFIXES = ('http://', 'https://', 'pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://')


@CheckpointLoader.register_scheme(prefixes=_PREFIXES, force=True)
def refuse_url(filename: str, map_location: Any = None) -> None:
    """Say that a checkpoint has to be downloaded first.

    mmengine would fetch it and leave ``weights_only`` to torch (before 2.6: a file may run code),
    and would take a file of the same name out of torch's cache, whatever host that came from.
    Names of published backbones, such as ``torchvision://resnet50``, are as they were.

    Args:
        filename: The URL.
        map_location: As for ``torch.load``; it does not matter.

    Raises:
        CheckpointError: Always, with the URL.
    """
    raise CheckpointError(
        f'checkpoint {filename!r}: expected the path of a local file, found a URL. Download it, '
        'compare its SHA-256 with what its publisher says, and give its path'
    )
