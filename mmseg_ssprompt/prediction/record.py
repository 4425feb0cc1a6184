"""What a folder of predictions holds, so that a command that was stopped goes on where it was."""

import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence

from ..files import replacing, write_atomically
from ..outputs import OutputError

__all__ = ['RECORD', 'PredictionRecord', 'file_state']

#: The name of the file: a line of JSON of the model, and one of each picture that is complete.
RECORD = 'predictions.jsonl'


def file_state(file: Path) -> Dict[str, int]:
    """What tells whether a file is the one that was there before."""
    status = os.stat(file)
    return dict(bytes=status.st_size, mtime_ns=status.st_mtime_ns)


class PredictionRecord:
    """The pictures of a folder that are complete.

    Args:
        folder: Of the predictions; it exists.
        made_by: What predictions depend on: ``model``, its path; ``digest``, which tells it from
            others; and ``tiles``, in words.
        is_new: Whether what is there is forgotten. Defaults to False.

    Raises:
        OutputError: If what is there was made otherwise, with what differs.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any], is_new: bool = False) -> None:
        self.folder = folder
        self._file = folder / RECORD
        #: Of each picture its entry without annotations, and where its line begins.
        self._entries: Dict[str, Dict[str, Any]] = {}
        self._places: Dict[str, int] = {}
        if is_new or not self._file.is_file():
            write_atomically(self._file, _line(made_by))
        else:
            self._read(made_by)

    def _read(self, made_by: Mapping[str, Any]) -> None:
        place, header = 0, None
        with self._file.open('rb') as stream:
            for line in stream:
                entry = _parse(line)
                if header is None:
                    header = entry
                    _check_header(entry, json.loads(_line(made_by)), self.folder)
                elif 'name' in entry:
                    self._keep(entry, place)
                if not line.endswith(b'\n'):  # of a process that was killed
                    break
                place += len(line)
        os.truncate(self._file, place)

    def _keep(self, entry: Mapping[str, Any], place: int) -> None:
        name = entry['name']
        self._places[name] = place
        self._entries[name] = {k: v for k, v in entry.items() if k != 'annotations'}
        self._entries[name]['has_annotations'] = 'annotations' in entry

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        """The entries of all pictures without their annotations, in the order of names."""
        return iter([self._entries[name] for name in sorted(self._entries)])

    def get(self, name: str) -> Dict[str, Any]:
        """The entry of a picture, without its annotations."""
        return self._entries[name]

    def annotations(self, name: str) -> List[Dict[str, Any]]:
        """What was found in a picture, as COCO's files have it."""
        with self._file.open('rb') as stream:
            stream.seek(self._places[name])
            found: List[Dict[str, Any]] = _parse(stream.readline())['annotations']
        return found

    def has(self, name: str, state: Mapping[str, Any], overlay: bool, annotations: bool) -> bool:
        """Whether a picture is complete.

        Args:
            name: Of its results.
            state: Of its file (:func:`file_state`).
            overlay: Whether an overlay is wanted.
            annotations: Whether annotations are wanted.
        """
        entry = self._entries.get(name)
        if entry is None or entry['file'] != dict(state):
            return False
        if annotations and not entry['has_annotations']:
            return False
        files = [entry.get('labels'), entry.get('overlay')] if overlay else [entry.get('labels')]
        return all(file is not None and (self.folder / file).is_file() for file in files)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Say that a picture is complete: ``name``, ``file``, and what was written of it."""
        with self._file.open('ab') as stream:
            place = stream.tell()
            stream.write(_line(entry))
        self._keep(entry, place)

    def write_coco(self, file: Path, categories: List[Dict[str, Any]], names: Sequence[str]) -> int:
        """Write what was found in some pictures as one JSON file of COCO's format.

        Args:
            file: What is written, as a whole or not at all.
            categories: The classes.
            names: Of the pictures, in their order.

        Returns:
            The number of annotations.
        """
        count = 0
        with replacing(file) as temporary, temporary.open('w', encoding='utf-8') as stream:
            stream.write('{"images": [')
            images = [self._entries[name] for name in names]
            for index, entry in enumerate(images):
                image = dict(
                    id=index + 1, file_name=entry['picture'], height=entry['size'][0],
                    width=entry['size'][1],
                )  # fmt: skip
                stream.write(('\n' if index == 0 else ',\n') + json.dumps(image))
            stream.write('\n], "annotations": [')
            for index, entry in enumerate(images):
                for annotation in self.annotations(entry['name']):
                    count += 1
                    content = json.dumps(dict(id=count, image_id=index + 1, **annotation))
                    stream.write(('\n' if count == 1 else ',\n') + content)
            stream.write(f'\n], "categories": {json.dumps(categories)}}}\n')
        return count


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b'\n'


def _parse(line: bytes) -> Dict[str, Any]:
    """The entry in a line; empty if it has none, as where a process was killed."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _check_header(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Refuse to mix predictions that were made in several ways."""
    others = None
    if found.get('digest') != wanted['digest']:
        others = f'of another model ({found.get("model")!r}, or what it was since then)'
    elif found.get('tiles') != wanted['tiles']:
        others = f'by tiles of {found.get("tiles")}, and not of {wanted["tiles"]}'
    if others is not None:
        raise OutputError(
            f'--out={str(folder)!r}: expected a new folder, or one of predictions made in the same '
            f'way, found predictions {others}. Give another folder, or say --overwrite'
        )
