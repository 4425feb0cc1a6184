"""A folder of photographs and a folder of label maps, whatever their files are called."""

import contextlib
import os
from collections import Counter, defaultdict
from itertools import chain
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from mmengine import fileio
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..class_names import find_palette_problem, read_class_names
from .checks import DatasetError
from .left_out import SUFFIXES, walk_files

__all__ = ['ImageFolderDataset']

_SHOWN = 5  # files that an error lists


@DATASETS.register_module()
class ImageFolderDataset(BaseSegDataset):
    """Photographs and label maps of one's own.

    ::

        data_root/images/train/**/NAME.{jpg,JPG,png,tif,webp,...}
        data_root/labels/train/**/NAME.png

    Each image has the label map of its own name in the same sub-folder, whatever the suffix; of
    several files of that name a PNG is taken. The log says which files are no images, and which
    label maps have none. Without ``data_prefix['seg_map_path']`` (or with None there) images have
    no label maps: they can be predicted only.

    Args:
        classes: The class names, in the order of their ids, or a text file of them, one a line.
            They replace ``metainfo`` as a whole, so that nothing of a base config's classes is
            left. Defaults to None: those of ``metainfo``.
        palette: (C, 3) colours, whole numbers from 0 to 255. Defaults to None: drawn, the same
            each time.
        label_map: Class ids by the ids in the files, such as ``{0: 0, 255: 1}`` for masks; a value
            may be ``ignore_index``. Ids that are not among its keys stay what they are. Not with
            ``reduce_zero_label``. Defaults to None: files hold class ids.
        img_suffix: Ends of the names of images, one or several; upper and lower case are the same.
            Defaults to None: those of of pictures: ".jpg", ".png", ".tif", ".webp", ....
        seg_map_suffix: What follows an image's name in the name of its label map, such as
            ``'_mask.png'``. Where images and label maps lie in the same folder, it tells them
            apart. Defaults to None: any suffix of a picture.
        ann_file: Text file with the name of an image a line, with or without its suffix. Defaults
            to '': all images of the folder.
        metainfo: As for ``BaseSegDataset``; used only where ``classes`` is None.
        data_prefix: ``img_path`` and ``seg_map_path``, the folders beneath ``data_root``.
        lazy_init: Whether to read the list of files later. Defaults to False.
        **kwargs: As for ``BaseSegDataset``.

    Raises:
        ValueError: If ``classes``, ``palette`` or ``label_map`` do not fit together.
        DatasetError: If a folder is not there or has no images, images have no label map or more
            than one, or two images have the same name; with the first such files.
    """

    def __init__(
        self,
        classes: Union[str, Sequence[str], None] = None,
        palette: Optional[Sequence[Sequence[int]]] = None,
        label_map: Optional[Mapping[int, int]] = None,
        img_suffix: Union[str, Sequence[str], None] = None,
        seg_map_suffix: Optional[str] = None,
        ann_file: str = '',
        metainfo: Optional[Mapping[str, Any]] = None,
        data_prefix: Optional[Mapping[str, Optional[str]]] = None,
        lazy_init: bool = False,
        **kwargs: Any,
    ) -> None:
        metainfo = _choose_metainfo(classes, palette, metainfo)
        label_map = metainfo.pop('label_map', None) if label_map is None else label_map
        suffixes = SUFFIXES if img_suffix is None else img_suffix
        self.suffixes = tuple(
            suffix.lower() for suffix in ([suffixes] if isinstance(suffixes, str) else suffixes)
        )
        self.exact_label_suffix = seg_map_suffix
        prefix = dict(img_path='', seg_map_path='') if data_prefix is None else data_prefix
        super().__init__(
            img_suffix='',
            seg_map_suffix=seg_map_suffix or '.png',
            ann_file=ann_file,
            metainfo=metainfo,
            data_prefix={key: folder for key, folder in prefix.items() if folder is not None},
            lazy_init=True,
            **kwargs,
        )
        self.label_map = self._complete(label_map)
        self._metainfo['label_map'] = self.label_map
        if not lazy_init:
            self.full_init()

    def load_data_list(self) -> List[Dict[str, Any]]:
        """A record for each image, sorted by path."""
        folder, labels = (self.data_prefix.get(key) for key in ('img_path', 'seg_map_path'))
        images = self._find_images(folder, labels)
        paths = {} if labels is None else self._find_labels(images, folder, labels)
        return [
            dict(
                img_path=os.path.join(folder, image),
                **({} if labels is None else dict(seg_map_path=paths[name])),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for name, image in sorted(images.items(), key=lambda item: item[1])
        ]

    def _find_images(self, folder: str, label_folder: Optional[str]) -> Dict[str, str]:
        """Paths beneath the image folder, by name without suffix."""
        names: Dict[str, List[str]] = defaultdict(list)
        others: Counter[str] = Counter()
        ending = self.exact_label_suffix  # which tells label maps in the image folder from images
        if label_folder is None and ending and ending.lower() in SUFFIXES:
            ending = None  # label maps may lie there all the same, but '.png' tells nothing
        elif label_folder and os.path.realpath(folder) != os.path.realpath(label_folder):
            ending = None
        for file in self._list(folder, label_folder, 'img_path'):
            name, suffix = os.path.splitext(file)
            if ending and file.endswith(ending):
                others[f'{ending} (seg_map_suffix)'] += 1
            elif suffix.lower() in self.suffixes:
                names[name].append(file)
            else:
                others[suffix or 'without suffix'] += 1
        counts = ', '.join(f'{count} {suffix}' for suffix, count in sorted(others.items()))
        if not names:
            raise DatasetError(
                f'the data set ImageFolderDataset is empty: expected images '
                f'({", ".join(self.suffixes)}) in {folder!r}, found {counts or "nothing"}. Set '
                'data_root and data_prefix.img_path, and seg_map_suffix to what only label maps '
                'end in'
            )
        if others:
            print_log(
                f'Files in {folder!r} that are left out, because only {"/".join(self.suffixes)} '
                f'are images: {counts}',
                'current',
            )
        chosen = self._choose(names) if self.ann_file else names
        _check_single(chosen.values(), f'{folder!r}: expected one image of each name', 'img_suffix')
        return {name: files[0] for name, files in chosen.items()}

    def _choose(self, images: Mapping[str, List[str]]) -> Dict[str, List[str]]:
        """Those that the list names."""
        wanted: List[str] = []
        is_file = os.path.isfile(self.ann_file)
        if is_file:
            with open(self.ann_file, encoding='utf-8-sig') as file:
                wanted = [line.strip().replace('\\', '/') for line in file if line.strip()]
        if not wanted:
            raise DatasetError(
                f'ann_file {self.ann_file!r}: expected a text file with the name of an image a '
                f'line, found {"an empty" if is_file else "no such"} file'
            )
        by_file = {file: name for name, files in images.items() for file in files}
        chosen = {by_file.get(line, line): [line] for line in wanted if line in by_file}
        chosen.update((line, images[line]) for line in wanted if line in images)
        missing = [line for line in wanted if line not in by_file and line not in images]
        if missing:
            raise DatasetError(
                f'ann_file {self.ann_file!r}: expected names of images in '
                f'{self.data_prefix["img_path"]!r}, found {len(missing)} of {len(wanted)} lines '
                f'without such an image: {_show(missing)}'
            )
        return chosen

    def _find_labels(
        self, images: Mapping[str, str], image_folder: str, folder: str
    ) -> Dict[str, str]:
        """Paths of the label maps, by the name of the image without suffix."""
        found: Dict[str, List[str]] = defaultdict(list)
        ending = self.exact_label_suffix
        for file in self._list(folder, image_folder, 'seg_map_path'):
            name, suffix = os.path.splitext(file)
            if ending and file.endswith(ending):
                found[file[: -len(ending)]].append(file)
            elif ending is None and suffix.lower() in SUFFIXES:
                found[name].append(file)
        labels = {  # of several files the PNGs, if there are any
            name: [file for file in files if file.lower().endswith('.png')] or files
            for name, files in found.items()
        }
        missing = sorted(image for name, image in images.items() if name not in labels)
        unused = sorted(file for name in labels if name not in images for file in labels[name])
        if missing:
            example = os.path.splitext(missing[0])[0] + (ending or '.png')
            raise DatasetError(
                f'{len(missing)} of {len(images)} images in {image_folder!r} have no label map in '
                f'{folder!r}: {_show(missing)}. Expected a file of the same name, such as '
                f'{example!r}; label maps without image: {_show(unused) if unused else "none"}. '
                'Leave these images out, or set data_prefix.seg_map_path=None to predict without '
                'label maps'
            )
        chosen = (labels[name] for name in images)
        _check_single(
            chosen, f'{folder!r}: expected one label map for each image', 'seg_map_suffix'
        )
        if unused and not self.ann_file:
            print_log(
                f'{len(unused)} label maps in {folder!r} have no image in {image_folder!r}: '
                f'{_show(unused)}',
                'current',
            )
        return {name: os.path.join(folder, labels[name][0]) for name in images}

    def _list(self, folder: str, other: Optional[str], key: str) -> List[str]:
        """Paths of files beneath a folder, without those of the other folder inside of it."""
        try:
            if self.backend_args is None and os.path.isdir(folder):
                files = [os.path.relpath(file, folder) for file in walk_files(folder)]
            else:
                files = fileio.list_dir_or_file(
                    folder, list_dir=False, recursive=True, backend_args=self.backend_args
                )
            files = sorted(file.replace(os.sep, '/') for file in files)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DatasetError(
                f'ImageFolderDataset: expected the folder data_prefix.{key} at {folder!r}, found '
                'none. Set data_root and data_prefix'
            ) from error
        inside = os.path.relpath(other or folder, folder or '.').replace(os.sep, '/')
        if inside == '.' or inside.startswith('..'):
            return files
        return [file for file in files if not file.startswith(f'{inside}/')]

    def _complete(self, label_map: Optional[Mapping[int, int]]) -> Optional[Dict[int, int]]:
        """A label map with all ids of classes as keys; None if files hold class ids."""
        if label_map is None:
            return None
        # With one class the rest has a number too (rest_id); if it is 0, the class is 1.
        count = max(2, len(self._metainfo['classes']))
        if self.reduce_zero_label:
            raise ValueError(
                'label_map and reduce_zero_label=True: expected one of them, because both change '
                f'ids of the files. Write what 0 becomes into label_map: 0: {self.ignore_index}'
            )
        given: Dict[int, Any] = {-1: None}
        targets = (*range(count), self.ignore_index)
        with contextlib.suppress(TypeError, ValueError):  # of what has no numbers as keys
            given = {int(str(old)): new for old, new in dict(label_map).items()}  # JSON has texts
        if not all(o >= 0 and type(new) is int and new in targets for o, new in given.items()):
            raise ValueError(
                f'label_map: expected ids of classes (0 to {count - 1}) or {self.ignore_index} '
                f'(ignored) by ids in the files, found {label_map!r}'
            )
        return {**{number: number for number in range(count)}, **given}


def _choose_metainfo(
    classes: Union[str, Sequence[str], None],
    palette: Optional[Sequence[Sequence[int]]],
    metainfo: Optional[Mapping[str, Any]],
) -> Dict[str, Any]:
    """The metainfo that counts, checked."""
    chosen: Dict[str, Any] = dict(metainfo or {}) if classes is None else dict(classes=classes)
    if palette is not None:
        chosen['palette'] = palette
    given = chosen.get('classes')
    names = read_class_names(given)
    if not names:
        raise ValueError(
            f'ImageFolderDataset: expected classes as a list of names, such as classes='
            f"['background', 'crack'], or a file with one a line, found {given!r}"
        )
    chosen['classes'] = tuple(names)
    if chosen.get('palette') is None:
        chosen.pop('palette', None)
        return chosen
    problem = find_palette_problem(chosen['palette'], names)
    if problem is not None:
        raise ValueError(f'ImageFolderDataset: palette: {problem}')
    return chosen


def _check_single(groups: Iterable[List[str]], expected: str, setting: str) -> None:
    """Refuse several files where one is expected."""
    double = sorted(files for files in groups if len(files) > 1)
    if double:
        raise DatasetError(
            f'{expected}, found {len(double)} with several: {_show(chain.from_iterable(double))}. '
            f'Remove all but one of each, or set {setting}'
        )


def _show(files: Iterable[str]) -> str:
    files = list(files)
    more = f' and {len(files) - _SHOWN} more' if len(files) > _SHOWN else ''
    return ', '.join(map(repr, files[:_SHOWN])) + more
