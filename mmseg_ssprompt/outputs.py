"""Where a run may write: never onto what it reads, and never over the results of another run."""

import contextlib
import inspect
import os
import re
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config
from mmseg.registry import DATASETS

from .config_entries import each_entry
from .dataset_wrappers import each_dataset, each_dataset_config

__all__ = [
    'Inputs',
    'OutputError',
    'ResultNames',
    'check_folder',
    'check_outputs',
    'contains',
    'find_inputs',
    'find_outputs',
    'is_output',
    'result_file',
]

_OUTPUT_KEY = re.compile(r'out|save|dump|trace|export|write|dir_name|log_dir|artifact')
_WRITERS = ('val_evaluator', 'test_evaluator', 'visualizer', 'default_hooks', 'custom_hooks')
#: The run's own state, which it reads and writes.
_OWN_STATE = ('work_dir', 'manifest')
_CONFIG_SUFFIXES = ('.py', '.json', '.yaml', '.yml')


class OutputError(ValueError):
    """A path that must not be written: a run reads it, or another run has written it."""


class Inputs(NamedTuple):
    """What a run reads.

    Attributes:
        files: What each file is, such as ``'the config'``, by its path.
        folders: What each folder of data holds, such as ``'img_path'``, by its path.
    """

    files: Dict[Path, str]
    folders: Dict[Path, str]

    def find_file(self, path: Path) -> Optional[str]:
        """Say which of the files that are read a path names, or None."""
        for file, what in self.files.items():
            if _is_same(path, file):
                return f'{what}, {str(file)!r}'
        return None

    def find_problem(self, path: Path, and_inside: bool = False) -> Optional[str]:
        """Say why a path must not be written, or None.

        Paths, which need not exist, are compared as the file system does: through links, with
        ``..``, and in other letter case where that names the same file. ``and_inside`` says that
        all that lies in the folder may be replaced, too.
        """
        what = self.find_file(path)
        if what is not None:
            return f'it is {what}'
        for folder, what in self.folders.items():
            if contains(folder, path):
                return f'it lies in a folder of data ({what}), {str(folder)!r}'
            if and_inside and contains(path, folder):
                return f'it contains a folder of data ({what}), {str(folder)!r}'
        for file, what in self.files.items() if and_inside else ():
            if file.exists() and contains(path, file):
                return f'it contains {what}, {str(file)!r}'
        return None


def _is_same(first: Path, second: Path) -> bool:
    """Whether two paths name one file or folder; those that do not exist are compared as text."""
    try:
        return os.path.samefile(first, second)
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return os.path.realpath(first) == os.path.realpath(second)


def contains(folder: Path, path: Path) -> bool:
    """Whether a path lies in a folder, or is the folder."""
    real = Path(os.path.realpath(path))
    return any(_is_same(folder, each) for each in (real, *real.parents))


def find_inputs(*configs: Config, files: Iterable[Any] = ()) -> Inputs:
    """What runs of some configs read; no file is opened.

    Args:
        *configs: As :meth:`Config.fromfile` returns them.
        files: Paths of further files, such as prompts; those that are None are passed over.
    """
    inputs = Inputs({Path(file): 'a file that is read' for file in files if file}, {})
    for cfg in configs:
        inputs.files.update((file, 'the config, or one of its bases') for file in _sources(cfg))
        _collect(cfg.to_dict(), '', inputs)
        for split in ('train', 'val', 'test'):
            loader = cfg.get(f'{split}_dataloader') or {}
            for dataset in each_dataset_config(loader.get('dataset')):
                _collect_dataset(dataset, inputs)
    return inputs


def _sources(cfg: Config) -> Iterator[Path]:
    """The file of a config and those of its bases, whose paths mmengine leaves in its text."""
    if cfg.filename:
        yield Path(cfg.filename)
    for line in (cfg.text or '').splitlines():
        if line.endswith(_CONFIG_SUFFIXES) and _is_file(line):
            yield Path(line)


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long for a path, a null byte, no home
        return False


def _collect(value: Any, key: str, inputs: Inputs) -> None:
    """Add the files and caches that a part of a config names."""
    if isinstance(value, Mapping):
        if isinstance(value.get('cache_dir'), str):
            inputs.folders.setdefault(Path(value['cache_dir']), 'embedding cache')
        writes = key.partition('.')[0] in _WRITERS
        for name, entry in value.items():
            if name not in _OWN_STATE and not (writes and is_output(name)):
                _collect(entry, f'{key}.{name}' if key else str(name), inputs)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _collect(entry, key, inputs)
    elif isinstance(value, (str, Path)) and _is_file(str(value)):
        inputs.files.setdefault(Path(value).expanduser(), key)


def _collect_dataset(config: Mapping[str, Any], inputs: Inputs) -> None:
    """Add the folders and files that a data set reads, also by arguments of its own."""
    root, prefix = str(config.get('data_root') or ''), config.get('data_prefix')
    with contextlib.suppress(Exception):  # a type that cannot be found is reported when it is built
        built = DATASETS.get(config['type'])
        prefix = prefix or inspect.signature(built).parameters['data_prefix'].default
    prefix = prefix if isinstance(prefix, Mapping) else dict(img_path='')
    for name, value in {**config, **prefix}.items():
        if name in (*_OWN_STATE, 'data_root') or not isinstance(value, str) or not root + value:
            continue
        path = Path(os.path.join(root, value))
        if path.is_dir():
            inputs.folders.setdefault(path, name)
        elif _is_file(str(path)):
            inputs.files.setdefault(path, name)


def is_output(name: Any) -> bool:
    """Whether a setting of an evaluator, visualiser or hook may say where it writes."""
    return _OUTPUT_KEY.search(str(name)) is not None


def find_outputs(cfg: Config) -> Dict[str, Path]:
    """Where the evaluators, visualisers and hooks of a config write, by the settings' names."""
    return dict(each for key in _WRITERS for each in _find_outputs(cfg.get(key), key))


def _find_outputs(value: Any, key: str) -> Iterator[Tuple[str, Path]]:
    if isinstance(value, Mapping):
        for name, entry in value.items():
            if is_output(name) and isinstance(entry, (str, Path)) and str(entry):
                yield f'{key}.{name}', Path(entry)
            else:
                yield from _find_outputs(entry, f'{key}.{name}')
    for place, entry in each_entry(value, key) if isinstance(value, (list, tuple)) else ():
        yield from _find_outputs(entry, place)


def check_outputs(
    outputs: Mapping[str, Any],
    inputs: Inputs,
    new_folders: Iterable[str] = (),
    overwrite: bool = False,
) -> None:
    """Refuse outputs that would meet inputs, or the results of another run.

    Args:
        outputs: Paths by the names of the arguments or settings; those that are None are passed
            over.
        inputs: What the run reads.
        new_folders: Names of outputs that have to be new or empty folders.
        overwrite: Whether these may hold files. Defaults to False.

    Raises:
        OutputError: With the name, the path, what it would meet, and what to do.
    """
    given = {name: Path(path).expanduser() for name, path in outputs.items() if path is not None}
    for name, path in given.items():
        # Metrics may clear their folders; checkpoints and logs lie beside what others have saved.
        may_clear = name in new_folders or (path.is_dir() and 'evaluator' in name)
        problem = inputs.find_problem(path, may_clear)
        if problem is not None:
            raise OutputError(
                f'{name}={str(path)!r}: expected a path that the run does not read, found that '
                f'{problem}. Nothing was written; give another path'
            )
        if name in new_folders and not overwrite and path.is_dir():
            first = next((each for each in path.rglob('*') if not each.is_dir()), None)
            if first is not None:
                raise OutputError(
                    f'{name}={str(path)!r}: expected a new or an empty folder, found files of '
                    f'another run, such as {str(first)!r}. Give another folder, or say --overwrite '
                    'to write into this one'
                )


def check_folder(
    folder: Path, inputs: Inputs, own: Sequence[str] = (), command: Optional[str] = None
) -> None:
    """Refuse an ``--out`` that is read, or holds other things than a command has written there.

    Args:
        folder: Its path; there may be none yet.
        inputs: What is read.
        own: Names of what it may hold. Defaults to (): it has to be new or empty.
        command: Which command has written these, such as ``'fit'``.

    Raises:
        OutputError: With the path, what it would meet or holds, and what to do.
    """
    check_outputs({'--out': folder}, inputs, ['--out'], overwrite=True)
    found = None
    if folder.is_dir():
        names = sorted(each.name for each in folder.iterdir())
        # A process that was killed leaves files that it has not completed.
        others = (n for n in names if not own or (n not in own and not n.endswith('.tmp')))
        found = next((f'{name!r} in it' for name in others), None)
    elif folder.exists():
        found = 'a file'
    if found is not None:
        or_own = f', or what `mmseg-ssprompt {command}` has written' if own else ''
        raise OutputError(
            f'--out={str(folder)!r}: expected a new or an empty folder{or_own}, found {found}. '
            'Nothing was written; give another folder'
        )


class ResultNames:
    """Names of results: paths of images, relative to the folder that holds all, without suffix.

    Args:
        dataset: A data set of images, which may wrap others.

    Attributes:
        images: Paths of all images, sorted.
        inputs: The folders in which images and label maps really lie, links followed: lists of
            names and links lead out of the folders that a config names.

    Raises:
        OutputError: If two images differ in their suffix alone.
    """

    def __init__(self, dataset: Any) -> None:
        leaves = [leaf for leaf in each_dataset(dataset) if hasattr(leaf, 'get_data_info')]
        files: Dict[str, str] = {}
        for leaf in leaves:
            for info in map(leaf.get_data_info, range(len(leaf))):
                files.update((str(info[k]), k) for k in ('seg_map_path', 'img_path') if info.get(k))
        self.images = sorted(file for file, key in files.items() if key == 'img_path')
        local = [(file, key) for file, key in files.items() if '://' not in file]
        self.inputs = Inputs({}, {Path(os.path.realpath(file)).parent: key for file, key in local})
        folders = [os.path.dirname(os.path.abspath(image)) for image in self.images]
        self._root = os.path.commonpath(folders) if folders else ''
        seen: Dict[str, str] = {}
        for image in self.images:
            other = seen.setdefault(self(image), image)
            if other != image:
                raise OutputError(
                    f'images {other!r} and {image!r} would share a file of results: rename one'
                )

    def __call__(self, image: str) -> str:
        """The name of an image's results: a relative path without the suffix of the results."""
        return os.path.splitext(os.path.relpath(image, self._root))[0]


def result_file(folder: Path, name: str, suffix: str) -> Path:
    """The file of an image's result; its folder is made.

    Args:
        folder: The folder of all results.
        name: As :class:`ResultNames` gives it.
        suffix: With its dot.
    """
    file = folder / f'{name}{suffix}'
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
