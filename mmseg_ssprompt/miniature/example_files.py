"""Scenes of ShapesWorld as files in folders: photographs and label maps for those who have none."""

import os
from pathlib import Path
from typing import Union

from ..files import check_writable, completing, write_atomically
from ..outputs import Inputs, check_folder
from .shapes_backend import ShapesBackend, shapes_path
from .shapes_world import get_world

__all__ = ['write_example']

WORLD = 'downstream'
#: Scenes with label maps, and scenes to predict, which have none.
NUM_LABELLED, NUM_NEW = 40, 6


def write_example(folder: Union[str, 'os.PathLike[str]']) -> Path:
    """Draw what ``mmseg_ssprompt.fit`` and ``predict`` take.

    ``photos`` has 40 pictures of 96 x 96 pixels, ``labels`` their label maps, ``new_photos`` 6
    pictures without, and ``classes.txt`` the names of the 10 classes in the order of their ids.

    Args:
        folder: A new or an empty folder. It appears when it is complete.

    Returns:
        The folder.

    Raises:
        OutputError: If the folder holds files, or a file has its name.
        OSError: If it cannot be written.
    """
    root = Path(folder)
    check_folder(root, Inputs({}, {}))
    check_writable(root.absolute().parent)
    backend = ShapesBackend()

    def write(kind: str, split: str, index: int, subfolder: str) -> None:
        file = temporary / subfolder / f'{index:02d}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, backend.get(shapes_path(WORLD, kind, split, 0, index)))

    with completing(root) as temporary:
        for index in range(NUM_LABELLED):
            write('image', 'train', index, 'photos')
            write('label', 'train', index, 'labels')
        for index in range(NUM_NEW):
            write('image', 'test', index, 'new_photos')
        names = '\n'.join(get_world(WORLD).classes)
        write_atomically(temporary / 'classes.txt', f'{names}\n'.encode())
    return root
