"""How mmengine reads checkpoint files from disk: without running anything in them."""

from pathlib import Path
from typing import Any

from mmengine.runner import CheckpointLoader

from ..models.checkpoint import read_torch_file

__all__ = ['load_from_local']


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Read a local checkpoint of tensors and plain values.

    It takes the place of mmengine's own loader of local files, which leaves ``weights_only`` to
    torch (before 2.6: a file may run code), or in the OneDL fork falls back to an unsafe load.

    Args:
        filename: Path of the file, where ``~`` is the home directory.
        map_location: As for ``torch.load``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is damaged, or holds Python objects; mmengine's own
            checkpoints do (the history of the log), those of :class:`PromptCheckpointHook` do not.
    """
    file = Path(filename).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f'checkpoint {str(file)!r} does not exist')
    # Not memory-mapped: a resumed optimiser keeps the tensors, and the file may be written over.
    return read_torch_file(file, map_location, mmap=False)
