"""Reading of data sets with objects, from a picture for each image or from a file of COCO's."""

import os
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from mmengine import fileio
from mmseg.datasets import BaseSegDataset

from ..segments import NO_CLASS, split_things
from .checks import DatasetError
from .coco_json import CocoFile, find_instance_problem, read_coco_file
from .segment_maps import VOID

__all__ = ['SegmentsDataset', 'is_instance_task']

_SHOWN = 5  # files that an error lists


def is_instance_task(metainfo: Mapping[str, Any]) -> bool:
    """Whether only things are classes, and all else is "the rest", which counts."""
    return metainfo.get('stuff_classes') == ()


class SegmentsDataset(BaseSegDataset):
    """A data set whose classes are things and stuff; its records have ``segments``.

    With stuff classes it is for panoptic segmentation: what has no class is void, and does not
    count. Without, it is for instances: what is no object counts as such. :class:`LoadSegments`
    reads the segments.

    Args:
        ann_file: A JSON file in COCO's panoptic format or in that of instances. Defaults to '':
            each image has a picture of its own; or a text file, as mmseg's.
        metainfo: ``classes``, some of the data set's in any order or one's own; with
            ``thing_classes`` where they are one's own and no file says it. ``void_classes`` are
            names in the files whose segments do not count. Defaults to None: those of the data set.
        **kwargs: As for ``BaseSegDataset``. ``data_prefix['seg_map_path']`` is the folder of the
            pictures of segments.

    Raises:
        ValueError: If ``thing_classes`` are no classes.
        DatasetError: If the files are not as expected, with file and id.
    """

    METAINFO: ClassVar[Dict[str, Any]] = {}
    #: How the picture of an image holds objects, see ``read_picture``; '' where there is a file.
    kind: ClassVar[str] = ''
    #: Names of the labels in pictures.
    label_names: ClassVar[Dict[int, str]] = {}
    #: Ids of the classes in a file; None where they are found by names.
    category_ids: ClassVar[Optional[Tuple[int, ...]]] = None
    #: Whether a file may have segments that others hide.
    may_be_hidden: ClassVar[bool] = False

    def __init__(
        self, ann_file: str = '', metainfo: Optional[Mapping[str, Any]] = None, **kwargs: Any
    ) -> None:
        metainfo = self._complete(dict(metainfo or {}))
        super().__init__(ann_file=ann_file, metainfo=metainfo, **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Optional[Sequence[str]] = None) -> None:
        """There are no label maps: classes are found by their names."""

    def image_name(self, image: Mapping[str, Any]) -> str:
        """The path of an image of a file, below the folder of images."""
        return str(image['file_name'])

    def load_data_list(self) -> List[Dict[str, Any]]:
        """A record for each image: of pictures sorted by path, of a file in its order."""
        if str(self.ann_file).endswith('.json'):
            return self._load_file()
        if not self.kind:
            raise DatasetError(
                f'{type(self).__name__}: expected ann_file, a JSON file in a format of COCO, '
                f'found {str(self.ann_file)!r}'
            )
        return self._load_pictures()

    def _complete(self, metainfo: Dict[str, Any]) -> Dict[str, Any]:
        """Metainfo whose palette, things and stuff fit its classes."""
        if 'classes' not in metainfo:
            return metainfo
        own, classes = self.METAINFO, tuple(metainfo['classes'])
        known = own.get('classes', ())
        colours = dict(zip(known, own.get('palette', ())))
        if 'palette' not in metainfo:  # mmseg draws colours where there are none
            has_all = set(classes) <= set(colours)
            metainfo['palette'] = [colours[name] for name in classes] if has_all else []
        things = metainfo.get('thing_classes')
        if things is None and set(classes) <= set(known):
            things = own.get('thing_classes')
        elif things is not None and not set(things) <= set(classes):
            raise ValueError(
                f'metainfo.thing_classes: expected some of the classes {list(classes)}, found '
                f'{list(things)}'
            )
        metainfo['classes'] = classes
        metainfo.update(thing_classes=None, stuff_classes=None)
        return metainfo if things is None else dict(metainfo, **split_things(classes, things))

    def _find_classes(self, names: Mapping[int, str], others: Sequence[str] = ()) -> Dict[int, int]:
        """The class of each label in files: ours, ``NO_CLASS`` or ``VOID``; others are left out.

        Args:
            names: Of the labels.
            others: Names that are known besides.
        """
        metainfo, own = self._metainfo, self.METAINFO
        indices = {name.strip(): index for index, name in enumerate(metainfo['classes'])}
        void = {*own.get('void_classes', ()), *(metainfo.get('void_classes') or ())}
        left_out = NO_CLASS if is_instance_task(metainfo) else VOID
        known = [name.strip() for name in (*own['classes'], *self.label_names.values(), *others)]
        by_name = {**dict.fromkeys(known, left_out), **indices}
        by_name.update(dict.fromkeys(void - set(indices), VOID))
        return {
            label: by_name[name.strip()] for label, name in names.items() if name.strip() in by_name
        }

    def _number_classes(self, categories: Mapping[int, int]) -> None:
        """Say in the metainfo what ids classes have in files.

        Files of predictions have these ids, so that they can be compared with the data set's own.
        Classes that the file lacks have ids of their own.
        """
        ids: Dict[int, int] = {}
        for label, number in categories.items():
            ids.setdefault(number, label)
        free = max(categories, default=0) + 1
        numbers = range(len(self._metainfo['classes']))
        self._metainfo['category_ids'] = tuple(ids.get(n, free + n) for n in numbers)

    def _load_pictures(self) -> List[Dict[str, Any]]:
        metainfo, categories = self._metainfo, self._find_classes(self.label_names)
        self._number_classes(categories)
        shared = dict(
            kind=self.kind,
            categories=categories,
            things=[metainfo['classes'].index(name) for name in metainfo['thing_classes']],
            unlabelled=NO_CLASS if is_instance_task(metainfo) else VOID,
        )
        records: List[Dict[str, Any]] = super().load_data_list()
        for record in records:
            name = os.path.basename(record['img_path'])
            record['img_id'] = name[: len(name) - len(self.img_suffix)]
            if 'seg_map_path' in record:
                record['segments'] = dict(shared, path=record['seg_map_path'])
        return records

    def _load_file(self) -> List[Dict[str, Any]]:
        file = read_coco_file(str(self.ann_file), self.backend_args)
        names = dict(zip(self.category_ids, self.METAINFO['classes'])) if self.category_ids else {}
        names = {label: names.get(label, name) for label, name in file.categories.items()}
        self._find_things(file, names)
        stuff: List[str] = []  # which does not matter where objects alone do
        if is_instance_task(self._metainfo) and file.things is not None:
            stuff = [name for label, name in names.items() if label not in file.things]
        categories = self._find_classes(names, stuff)
        self._number_classes(categories)
        images, maps = (str(self.data_prefix.get(k) or '') for k in ('img_path', 'seg_map_path'))
        paths = {image['id']: self.image_name(image) for image in file.images}
        self._check_files('images', list(paths.values()), images)
        if file.is_panoptic:
            used = [each['annotations'][0]['file_name'] for each in file.images]
            self._check_files('panoptic maps', used, maps)
        records = []
        for image in file.images:
            record = dict(
                img_path=os.path.join(images, paths[image['id']]),
                img_id=image['id'],
                label_map=None,
                reduce_zero_label=False,
                seg_fields=[],
            )
            if file.is_labelled:
                record['segments'] = segments = self._read_entries(file, image, categories, maps)
                record['seg_map_path'] = segments['path']
            records.append(record)
        return records

    def _find_things(self, file: CocoFile, names: Mapping[int, str]) -> None:
        """Take from a file which classes are things, or compare it with the metainfo."""
        metainfo, own = self._metainfo, f'annotation file {file.path!r}'
        classes, known = metainfo['classes'], metainfo.get('thing_classes')
        if not file.is_labelled:
            return
        if not file.is_panoptic:
            if metainfo.get('stuff_classes'):
                raise DatasetError(
                    f"{own}: expected COCO's panoptic format, because {type(self).__name__} has "
                    'stuff classes, found its format of instances. Set ann_file to the panoptic '
                    'one, or take COCOInstanceDataset'
                )
            metainfo.update(split_things(classes, classes))
        elif file.things is not None:
            things = {names[label].strip() for label in file.things}
            said = [name for name in classes if name.strip() in things]
            labelled = {name.strip() for name in names.values()}
            wrong = set(said) ^ {name for name in known or () if name.strip() in labelled}
            if known is not None and wrong:
                raise DatasetError(
                    f'{own}: expected isthing to be 1 of the things of {type(self).__name__} '
                    f'alone, found it otherwise of {sorted(wrong)[:10]}. Set metainfo.classes, and '
                    'metainfo.thing_classes to what the file says'
                )
            metainfo.update(split_things(classes, said) if known is None else {})
        elif known is None:
            raise DatasetError(
                f'{own}: expected isthing in each of its categories, found none. Set '
                'metainfo.thing_classes'
            )

    def _check_files(self, what: str, names: Sequence[str], folder: str) -> None:
        """Refuse a file that lists what is not in a folder."""
        listed = fileio.list_dir_or_file(
            folder or '.', list_dir=False, recursive=True, backend_args=self.backend_args
        )
        found: Set[str] = set()
        if '://' in folder or os.path.isdir(folder or '.'):
            found = {path.replace(os.sep, '/') for path in listed}
        missing = [name for name in names if name not in found]
        if missing:
            more = f' and {len(missing) - _SHOWN} more' if len(missing) > _SHOWN else ''
            raise DatasetError(
                f'annotation file {str(self.ann_file)!r} is for other {what}: expected the '
                f'{len(names)} that it lists in {folder!r}, found {len(missing)} missing: '
                f'{", ".join(map(repr, missing[:_SHOWN]))}{more}. Set ann_file and data_prefix to '
                'the same split'
            )

    def _read_entries(
        self,
        file: CocoFile,
        image: Mapping[str, Any],
        categories: Mapping[int, int],
        maps: str,
    ) -> Dict[str, Any]:
        """The ``segments`` of an image, with classes of ours."""
        size = (image['height'], image['width'])
        shared: Dict[str, Any] = dict(source=file.path, size=size)
        if file.is_panoptic:
            (annotation,) = image['annotations']
            infos = []
            for info in annotation['segments_info']:
                category = self._find_class(file, image, info, categories)
                kept = {key: int(info[key]) for key in ('id', 'iscrowd', 'area') if key in info}
                infos.append(dict(kept, category_id=category))
            path = os.path.join(maps, annotation['file_name'])
            shared.update(kind='coco_panoptic', path=path, may_be_hidden=self.may_be_hidden)
            return dict(shared, segments_info=infos)
        instances = []
        for entry in image['annotations']:
            category = self._find_class(file, image, entry, categories)
            problem = find_instance_problem(file, image, entry)
            if problem is not None:
                raise DatasetError(problem)
            if category != NO_CLASS:
                kept = {key: entry[key] for key in ('id', 'area', 'segmentation') if key in entry}
                crowd = int(entry.get('iscrowd', 0))
                instances.append(dict(kept, category_id=category, iscrowd=crowd))
        return dict(shared, kind='coco_instances', path=file.path, instances=instances)

    def _find_class(
        self,
        file: CocoFile,
        image: Mapping[str, Any],
        entry: Mapping[str, Any],
        categories: Mapping[int, int],
    ) -> int:
        number = entry['category_id']
        if number in categories:
            return categories[number]
        name = file.categories.get(number)
        raise DatasetError(
            f'annotation file {file.path!r}: segment {entry["id"]!r} of image '
            f'{image["file_name"]!r} has category_id {number}'
            f'{f" ({name!r})" if name else ", which the file does not name"}: expected one of the '
            f'{len(self._metainfo["classes"])} classes of {type(self).__name__}. Add the name to '
            'metainfo.classes, or to metainfo.void_classes if its pixels do not count'
        )
