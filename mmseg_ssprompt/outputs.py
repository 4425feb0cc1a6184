"""Where a run may write: never onto what it reads, and never over the results of another run."""

import collections
import contextlib
import inspect
import itertools
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Tuple

from mmengine.config import Config
from mmseg.registry import DATASETS

from .config_entries import each_entry
from .dataset_wrappers import each_dataset, each_dataset_config

__all__ = [
    'Inputs',
    'OutputError',
    'ResultNames',
    'check_different',
    'check_outputs',
    'find_dataset_paths',
    'find_inputs',
    'find_outputs',
    'result_file',
]

#: Settings of evaluators, visualisers and hooks that may say where they write; others may read.
_OUTPUT_KEY = re.compile(r'out|save|dump|trace|export|write|dir_name|log_dir|artifact')
_WRITERS = ('val_evaluator', 'test_evaluator', 'visualizer', 'default_hooks', 'custom_hooks')
#: The run's own state, which it reads and writes.
_OWN_STATE = ('work_dir', 'manifest')
_CONFIG_SUFFIXES = ('.py', '.json', '.yaml', '.yml')


class OutputError(ValueError):
    """A path that must not be written: a run reads it, or another run has written it."""


class Inputs:
    """What a run reads.

    Args:
        files: What each file is, such as ``'the config'``, by its path.
        folders: What each folder of data holds, such as ``'img_path'``, by its path.
    """

    def __init__(self, files: Dict[Path, str], folders: Dict[Path, str]) -> None:
        self.files, self.folders = files, folders

    @cached_property
    def _links(self) -> Dict[Path, Path]:
        """Links in folders of data, by what they lead to: data sets are often made of such."""
        links = (file for folder in self.folders for file in _walk(folder) if file.is_symlink())
        return {Path(os.path.realpath(link)): link for link in links}

    def find_file(self, path: Path) -> Optional[str]:
        """Say which of the files that are read a path names, or None."""
        for file, what in self.files.items():
            if _is_same(path, file):
                return f'{what}, {str(file)!r}'
        return None

    def find_problem(self, path: Path) -> Optional[str]:
        """Say why a path must not be written, or None.

        Paths are compared as the file system does: through links, with ``..``, and in other letter
        case where that names the same file.

        Args:
            path: Path of a file or of a folder; it need not exist.
        """
        what = self.find_file(path)
        if what is not None:
            return f'it is {what}'
        for ancestor in _with_ancestors(path):
            for folder, what in self.folders.items():
                if _is_same(ancestor, folder):
                    return f'it lies in a folder of data ({what}), {str(folder)!r}'
            if ancestor in self._links:
                return f'{str(self._links[ancestor])!r}, which is data, is a link to it'
        return None

    def find_problem_inside(self, path: Path) -> Optional[str]:
        """Say why nothing must be written into a folder, or None.

        Args:
            path: Path of the folder; it need not exist.
        """
        for folder, what in self.folders.items():
            if any(_is_same(path, ancestor) for ancestor in _with_ancestors(folder)):
                return f'it contains a folder of data ({what}), {str(folder)!r}'
        for target, link in self._links.items():
            if any(_is_same(path, ancestor) for ancestor in target.parents):
                return (
                    f'it contains {str(target)!r}, to which {str(link)!r}, which is data, is a link'
                )
        for file, what in self.files.items():
            if file.exists() and any(_is_same(path, a) for a in _with_ancestors(file.parent)):
                return f'it contains {what}, {str(file)!r}'
        return None


def _is_same(first: Path, second: Path) -> bool:
    """Whether two paths name one file or folder; those that do not exist are compared as text."""
    try:
        return os.path.samefile(first, second)
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return os.path.realpath(first) == os.path.realpath(second)


def _with_ancestors(path: Path) -> Iterator[Path]:
    real = Path(os.path.realpath(path))
    return iter((real, *real.parents))


def _walk(folder: Path) -> Iterator[Path]:
    """Files and links inside of a folder."""
    return (path for path in folder.rglob('*') if path.is_symlink() or not path.is_dir())


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


def find_dataset_paths(dataset: Any) -> Tuple[Inputs, 'ResultNames']:
    """What a data set reads, and the names of the results of its images.

    Args:
        dataset: A data set, which may wrap others. What it reads is known, whatever the config
            says of it.
    """
    inputs, images, folders = Inputs({}, {}), [], []
    for leaf in each_dataset(dataset):
        prefix = getattr(leaf, 'data_prefix', None)
        folder = prefix.get('img_path') if isinstance(prefix, Mapping) else None
        count = len(leaf) if hasattr(leaf, 'get_data_info') else 0  # of mmengine
        for info in map(leaf.get_data_info, range(count)):
            for key in ('img_path', 'seg_map_path'):
                if info.get(key) and '://' not in str(info[key]):
                    inputs.folders[Path(os.path.realpath(info[key])).parent] = key
            if info.get('img_path'):
                images.append(str(info['img_path']))
                folders += [str(folder)] if folder else []
    return inputs, ResultNames(images, dict.fromkeys(folders))


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
            if name not in _OWN_STATE and not (writes and _OUTPUT_KEY.search(str(name))):
                _collect(entry, f'{key}.{name}' if key else str(name), inputs)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _collect(entry, key, inputs)
    elif isinstance(value, (str, Path)) and _is_file(str(value)):
        inputs.files.setdefault(Path(value).expanduser(), key)


def _collect_dataset(config: Mapping[str, Any], inputs: Inputs) -> None:
    """Add the folders and files that a data set reads, also by arguments of its own."""
    root = str(config.get('data_root') or '')
    for name, value in {**config, **_read_prefixes(config)}.items():
        if name in (*_OWN_STATE, 'data_root') or not isinstance(value, str) or not root + value:
            continue
        path = Path(os.path.join(root, value))
        if path.is_dir():
            inputs.folders.setdefault(path, name)
        elif _is_file(str(path)):
            inputs.files.setdefault(path, name)


def _read_prefixes(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """``data_prefix``, or what the type of the data set takes where it is left out."""
    prefix = config.get('data_prefix')
    with contextlib.suppress(Exception):  # a type that cannot be found is reported when it is built
        built = DATASETS.get(config['type'])
        prefix = prefix or inspect.signature(built).parameters['data_prefix'].default
    return prefix if isinstance(prefix, Mapping) else dict(img_path='')


def find_outputs(cfg: Config) -> Dict[str, Path]:
    """Where the evaluators, visualisers and hooks of a config write, by the settings' names."""
    return dict(each for key in _WRITERS for each in _find_outputs(cfg.get(key), key))


def _find_outputs(value: Any, key: str) -> Iterator[Tuple[str, Path]]:
    if isinstance(value, Mapping):
        for name, entry in value.items():
            if _OUTPUT_KEY.search(str(name)) and isinstance(entry, (str, Path)) and str(entry):
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
        _check_output(name, path, inputs.find_problem(path))
        if name in new_folders and not overwrite:
            first = next(_walk(path), None) if path.is_dir() else None
            if first is not None:
                raise OutputError(
                    f'{name}={str(path)!r}: expected a new or an empty folder, found files of '
                    f'another run, such as {str(first)!r}. Give another folder, or say --overwrite '
                    'to write into this one'
                )
        # Metrics may clear their folders; checkpoints and logs lie beside what others have saved.
        if name in new_folders or (path.is_dir() and 'evaluator' in name):
            _check_output(name, path, inputs.find_problem_inside(path))


def _check_output(name: str, path: Path, problem: Optional[str]) -> None:
    if problem is not None:
        raise OutputError(
            f'{name}={str(path)!r}: expected a path that the run does not read, found that '
            f'{problem}. Nothing was written; give another path'
        )


def check_different(outputs: Mapping[str, Optional[Path]]) -> None:
    """Refuse two outputs in one place, and one inside of another.

    Args:
        outputs: As for :func:`check_outputs`.

    Raises:
        OutputError: With the names of both.
    """
    given = [(name, path) for name, path in outputs.items() if path is not None]
    for (other, taken), (name, path) in itertools.combinations(given, 2):
        pairs = ((path, taken), (taken, path))
        if any(_is_same(a, outer) for a, b in pairs for outer in _with_ancestors(b)):
            raise OutputError(
                f'{name}={str(path)!r}: expected a place of its own, found that {other} writes '
                f'there too, into {str(taken)!r}. Give another path'
            )


class ResultNames:
    """Names of the results of images, so that no two images share a file.

    A result has the path of its image relative to the folder of all images, without the suffix;
    with it where two images differ in nothing else.

    Args:
        images: Paths of the images.
        folders: Folders in which they lie.

    Attributes:
        images: The paths of the images, each once, sorted.
    """

    def __init__(self, images: Iterable[str], folders: Iterable[str] = ()) -> None:
        self.images = sorted(set(images))
        paths = {os.path.abspath(image) for image in self.images}
        roots = [os.path.abspath(folder) for folder in folders]
        inside = tuple(os.path.join(root, '') for root in roots)
        roots += {os.path.dirname(path) for path in paths if not path.startswith(inside)}
        self._root = os.path.commonpath(roots) if roots else os.path.abspath('.')
        stems = collections.Counter(os.path.splitext(path)[0] for path in paths)
        self._shared = {path for path in paths if stems[os.path.splitext(path)[0]] > 1}
        names = {self(path): path for path in sorted(paths)}
        lost = sorted(paths - set(names.values()))
        if lost:
            raise OutputError(
                f'{len(lost)} images would share a file of results with others; the first is '
                f'{lost[0]!r}. Rename it'
            )

    def __call__(self, image: str) -> str:
        """The name of an image's results: a relative path without the suffix of the results.

        Args:
            image: Path of the image.

        Raises:
            OutputError: If the image lies elsewhere than those that are known.
        """
        path = os.path.abspath(image)
        name = os.path.relpath(path, self._root)
        if name.split(os.sep)[0] == os.pardir:
            raise OutputError(f'image {image!r}: expected a path inside of {self._root!r}')
        return name if path in self._shared else os.path.splitext(name)[0]


def result_file(folder: Path, name: str, suffix: str) -> Path:
    """The file of an image's result; its folder is made.

    Args:
        folder: The folder of all results.
        name: As :class:`ResultNames` gives it.
        suffix: Suffix of the file, with its dot.

    Raises:
        OutputError: If a link would lead out of the folder.
    """
    file = folder / f'{name}{suffix}'
    file.parent.mkdir(parents=True, exist_ok=True)
    if not any(_is_same(ancestor, folder) for ancestor in _with_ancestors(file.parent)):
        raise OutputError(
            f'result {str(file)!r}: expected a folder inside of {str(folder)!r}, found a link to '
            f'{os.path.realpath(file.parent)!r}. Remove the link, or give another folder'
        )
    return file
