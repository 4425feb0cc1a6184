"""Read every image and label map of a config's data sets, and list all that is wrong.

    python tools/check_dataset.py CONFIG
    python tools/check_dataset.py CONFIG --json report.json

The model is not built and no weights are needed. Ends with status 1 if there are errors, and with
0 if there are only warnings. See docs/datasets.md.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.utils import ProgressBar
from torch.utils.data import DataLoader, Dataset

from mmseg_ssprompt.cache import CacheError
from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.datasets.checks import check_classes, describe_empty
from mmseg_ssprompt.datasets.sample_checks import SampleChecks
from mmseg_ssprompt.datasets.shared_images import find_shared_images
from mmseg_ssprompt.datasets.survey import Listing, Survey
from mmseg_ssprompt.files import write_json
from mmseg_ssprompt.models.prompts.semantic import resolve_class_names
from mmseg_ssprompt.outputs import find_inputs
from mmseg_ssprompt.tool_inputs import output_file, prepare_outputs, read_config, require

from mmseg.registry import DATASETS  # isort: skip  (after mmseg_ssprompt, which makes it possible)

SPLITS = dict(train='training', val='validation', test='test')
SHOWN = 10  # errors of a kind; the JSON file has more


class Model(NamedTuple):
    """What the data must fit."""

    class_names: Tuple[str, ...]
    ignore_index: int


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Check all images and label maps of a config')
    parser.add_argument('config', type=Path, help='path of the config')
    parser.add_argument('--json', type=output_file('.json'), help='file for the report')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='as for tools/train.py: key=value'
    )
    return parser.parse_args()


def read_model(cfg: Config) -> Model:
    """The class names that the config prompts, and the ignored label, without building a model.

    Raises:
        ValueError: If it names no classes, or not ``num_classes`` of them.
    """
    head = cfg.model.decode_head
    source = head.get('semantic_prompts', head)
    keys = ('class_names', 'dataset', 'classes')
    names = resolve_class_names(**{key: source[key] for key in keys if key in source})
    if head.get('num_classes') != len(names):
        raise ValueError(
            f'decode_head.num_classes is {head.get("num_classes")}, but there are {len(names)} '
            f'class names: {list(names)}. Set num_classes to the number of class names.'
        )
    return Model(names, head.get('ignore_index', 255))


def unwrap(dataset: Dict[str, Any]) -> Iterator[Dict[str, Any]]:
    """The configs of the data sets inside wrappers; few shots are drawn from all that is inside."""
    if 'datasets' in dataset:
        for inner in dataset['datasets']:
            yield from unwrap(inner)
    elif dataset['type'] != 'EmbeddedDataset' and 'dataset' in dataset:
        yield from unwrap(dataset['dataset'])
    else:
        yield dataset


def survey_split(
    configs: Sequence[Dict[str, Any]], model: Model, name: str, num_workers: int
) -> Tuple[Survey, List[str]]:
    """Read all samples of a split.

    Returns:
        What was found, and the paths of the images.
    """
    survey, images = Survey(model.class_names), []
    for config in configs:
        try:
            dataset = DATASETS.build(config)
            check_classes(dataset, model.class_names, name)
            if len(dataset) == 0:  # not serialised
                raise DatasetError(describe_empty(dataset))
        except (DatasetError, CacheError, OSError) as error:
            survey.add_error('data set', error)
            continue
        images += read_all(survey, dataset, model, num_workers)
    try:
        survey.check_whole()
    except DatasetError as error:
        survey.add_error('data set', error)
    return survey, images


def read_all(survey: Survey, dataset: Dataset, model: Model, num_workers: int) -> List[str]:
    """Add all samples of a data set to a survey, with progress on stderr; the images' paths."""
    checks = SampleChecks(dataset, len(model.class_names), model.ignore_index)
    loader = DataLoader(checks, batch_size=None, num_workers=num_workers, collate_fn=as_it_is)
    progress, step, images = ProgressBar(len(checks), file=sys.stderr), len(checks) // 100 + 1, []
    for findings in loader:
        survey.add(findings)
        images.append(findings.image)
        if len(images) % step == 0 or len(images) == len(checks):
            progress.update(len(images) - progress.completed)
    print(file=sys.stderr)
    return images


def as_it_is(findings: Any) -> Any:
    """Leave findings as they are; by default torch makes tensors of arrays."""
    return findings


def print_report(split: str, survey: Survey) -> None:
    print(f'{split}: {survey.read} samples were read')
    for kind, listing in survey.errors.items():
        print(f'  ERROR, {kind}: {listing.count}')
        for text in listing.listed[:SHOWN]:
            print(f'    {text}')
        if listing.count > SHOWN:
            print(f'    ... and {listing.count - SHOWN} more')
    for warning in survey.warnings():
        print(f'  WARNING: {warning}')


def compare_with_training(images: Dict[str, List[str]]) -> Dict[str, Listing]:
    """Images of other splits that the training split has too."""
    shared: Dict[str, Listing] = {}
    for split, paths in images.items():
        pairs = find_shared_images(images['train'], paths) if split != 'train' else []
        if pairs:
            shared[split] = Listing(len(pairs), [f'{a!r} = {b!r}' for a, b in pairs[:SHOWN]])
            print(
                f'{split}:\n  WARNING: {len(pairs)} images are training images too, by path or by '
                f'name and content; the first: {shared[split].listed[0]}'
            )
    return shared


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options, needs=['model.decode_head'])
    prepare_outputs({'--json': args.json}, find_inputs(cfg, files=[args.config]))
    loaders = [f'{split}_dataloader' for split in SPLITS if cfg.get(f'{split}_dataloader')]
    if not loaders:
        sys.exit(
            f'config {str(args.config)!r}: expected a train_, val_ or test_dataloader, found none'
        )
    for loader in loaders:
        require(cfg, f'{loader}.dataset', args.config)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    try:
        model = read_model(cfg)
    except ValueError as error:
        sys.exit(f'config {str(args.config)!r}: {error}')
    seen: Dict[str, List[Dict[str, Any]]] = {}
    surveys: Dict[str, Survey] = {}
    images: Dict[str, List[str]] = dict(train=[])
    for split, name in SPLITS.items():
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        configs = list(unwrap(loader.dataset.to_dict()))
        same = next((other for other, known in seen.items() if known == configs), None)
        if same is not None:
            print(f'{split}: the same as {same}')
            continue
        seen[split] = configs
        surveys[split], images[split] = survey_split(
            configs, model, name, loader.get('num_workers', 0)
        )
        print_report(split, surveys[split])
    shared = compare_with_training(images)
    errors = sum(item.count for s in surveys.values() for item in s.errors.values())
    warnings = sum(len(survey.warnings()) for survey in surveys.values()) + len(shared)
    print(f'{errors} errors, {warnings} warnings')
    if args.json is not None:
        report = dict(
            config=str(args.config),
            num_errors=errors,
            num_warnings=warnings,
            splits={split: survey.to_dict() for split, survey in surveys.items()},
            shared_with_training={split: item._asdict() for split, item in shared.items()},
        )
        write_json(report, args.json)
        print(args.json)
    sys.exit(1 if errors else 0)


if __name__ == '__main__':
    main()
