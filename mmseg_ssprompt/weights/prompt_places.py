"""Where prompts lie: a file, a folder that ``fit`` or ``publish`` has written, or a model hub."""

from os import PathLike
from pathlib import Path
from typing import Union

from .hub import fetch_files, is_hub_name
from .state_dicts import CheckpointError

__all__ = ['PROMPTS', 'find_prompt_file', 'find_within']

#: The file of prompts in a folder.
PROMPTS = 'prompts.safetensors'


def find_prompt_file(name: Union[str, 'PathLike[str]']) -> Path:
    """The local file of prompts that a name stands for; whatever takes prompts calls this.

    Args:
        name: A file; a folder that ``fit`` or ``publish`` has written; or
            ``hf://USER/NAME[@REVISION]``, whose file is fetched if it is not in the cache.

    Returns:
        The path; of a name that is no folder it is returned without a look.

    Raises:
        FileNotFoundError: If a folder has no such file.
        CheckpointError: If the file lies elsewhere, or cannot be fetched (``HubError``).
        MissingExtraError: If the hub's library is not installed.
    """
    if is_hub_name(name):
        return fetch_files(str(name), [PROMPTS]) / PROMPTS
    path = Path(name).expanduser()
    return find_within(path, PROMPTS) if path.is_dir() else path


def find_within(folder: Path, name: str) -> Path:
    """A file of a folder, which lies there and is no link to elsewhere.

    Links of a hub's cache are those from ``snapshots/COMMIT`` to ``blobs``.

    Raises:
        FileNotFoundError: If it is not there.
        CheckpointError: If it is a link that leads out of the folder.
    """
    file = folder / name
    if not file.is_file():
        raise FileNotFoundError(
            f'folder {str(folder)!r}: expected one that `mmseg-ssprompt fit` or `mmseg-ssprompt '
            f'publish` has written, with {name}, found no such file'
        )
    real, home = file.resolve(), folder.resolve()
    places = [home]
    if home.parent.name == 'snapshots':
        places.append(home.parents[1] / 'blobs')
    if real.parent not in places:
        raise CheckpointError(
            f'{str(file)!r}: expected a file, found a link that leads out of the folder, to '
            f'{str(real)!r}. Put a copy in its place'
        )
    return file
