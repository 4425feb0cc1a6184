"""Compare a config with itself, read all of its images and label maps, and list what is wrong.

    mmseg-ssprompt check-data CONFIG
    mmseg-ssprompt check-data CONFIG --json report.json

The model is not built and no weights are needed. Ends with status 1 if there are errors, and with
0 if there are only warnings.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, Hashable, Iterator, List, Sequence, Tuple

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from mmengine.utils import ProgressBar
from torch.utils.data import DataLoader

from ..cache import CacheError
from ..datasets import DatasetError
from ..datasets.checks import check_classes, describe_empty, explain_dataset_errors
from ..datasets.left_out import find_left_out
from ..datasets.packed_checks import check_batch_sizes, check_packed
from ..datasets.sample_checks import SampleChecks
from ..datasets.survey import Survey, count_and_list
from ..files import sha256_of, write_json
from ..hooks.config_checks import SPLITS, ModelFacts, check_config, read_metainfo, read_model_facts
from ..hooks.dataset_check_hook import read_facts, read_frame
from ..hooks.rehearsal import rehearse
from ..outputs import find_inputs
from .inputs import ConfigError, prepare_outputs, read_config, require

from mmseg.registry import DATASETS  # isort: skip  (after mmseg_ssprompt, which makes it possible)

SHOWN = 10  # errors of a kind; the JSON file has more


def unwrap(dataset: Dict[str, Any], packed: bool = False) -> Iterator[Dict[str, Any]]:
    """The configs of the data sets inside wrappers; few shots are drawn from all that is inside.

    Args:
        dataset: Config of a data set or of a wrapper.
        packed: Whether wrappers that have a pipeline, such as those that mix images, are left as
            they are. Defaults to False.
    """
    if packed and dataset.get('pipeline'):
        yield dataset
    elif 'datasets' in dataset:
        for inner in dataset['datasets']:
            yield from unwrap(inner, packed)
    elif dataset['type'] != 'EmbeddedDataset' and 'dataset' in dataset:
        yield from unwrap(dataset['dataset'], packed)
    else:
        yield dataset


@explain_dataset_errors()
def survey_split(
    cfg: Config, split: str, configs: Sequence[Dict[str, Any]], model: ModelFacts
) -> Tuple[Survey, List[str]]:
    """Read all samples of a split, and let some pass their pipelines.

    Returns:
        What was found, and the paths of the images.
    """
    survey, images, datasets = Survey(model.class_names, model.ids), [], []
    for config in configs:
        try:
            dataset = DATASETS.build(config)
            check_classes(dataset, model.class_names, SPLITS[split])
            if len(dataset) == 0:  # not serialised
                raise DatasetError(describe_empty(dataset))
        except (DatasetError, CacheError, OSError) as error:
            survey.add_error('data set', error)
            continue
        datasets.append(dataset)
        images += read_all(survey, dataset, model, cfg[f'{split}_dataloader'].get('num_workers', 0))
        survey.notes += find_left_out(dataset)
    survey.facts = read_facts(datasets) if datasets else survey.facts
    try:
        survey.check_whole(training=split == 'train')
    except DatasetError as error:
        survey.add_error('data set', error)
    if datasets:
        try_samples(survey, cfg, split, model)
    return survey, images


def try_samples(survey: Survey, cfg: Config, split: str, model: ModelFacts) -> None:
    """Let the first samples pass their pipelines, as before a training."""
    training, packed = split == 'train', []
    loader = cfg[f'{split}_dataloader']
    for config in unwrap(loader.dataset.to_dict(), packed=True):
        try:
            packed += check_packed(
                *(DATASETS.build(config), model.ids, SPLITS[split], training),
                read_frame(cfg, training),
            )
        except (DatasetError, CacheError, OSError) as error:
            if str(error) not in {text for texts in survey.errors.values() for text in texts}:
                survey.add_error('pipeline', error)
    try:
        if not training:
            check_batch_sizes(packed, loader.get('batch_size', 1), f'{split}_dataloader')
    except DatasetError as error:
        survey.add_error('pipeline', error)


def check_settings(cfg: Config, splits: Sequence[str], model: ModelFacts) -> Survey:
    """What the config says in several places, and its evaluators."""
    survey = Survey(model.class_names, model.ids)
    try:
        check_config(cfg, splits, model)
    except DatasetError as error:
        survey.add_error('settings', error)
        return survey
    for split in splits:
        metainfo = read_metainfo(cfg, split)
        if split != 'train' and cfg.get(f'{split}_evaluator') and metainfo is not None:
            try:
                rehearse(cfg, split, metainfo, model.ids)
            except DatasetError as error:
                survey.add_error('evaluators', error)
    return survey


def read_all(
    survey: Survey, dataset: BaseDataset, model: ModelFacts, num_workers: int
) -> List[str]:
    """Add all samples of a data set to a survey, with progress on stderr; the images' paths."""
    checks = SampleChecks(dataset, model.ids)
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
    """Print what was found in a split, or in the config."""
    if split == 'config':
        if not survey.errors and not survey.warnings():
            return
        print('config:')
    else:
        print(f'{split}: {survey.read} samples were read')
    if survey.ignored:
        print(f'  {survey.describe_ignored()}')
    for kind, texts in survey.errors.items():
        print(f'  ERROR, {kind}: {len(texts)}')
        for text in texts[:SHOWN]:
            print(f'    {text}')
        if len(texts) > SHOWN:
            print(f'    ... and {len(texts) - SHOWN} more')
    for warning in survey.warnings():
        print(f'  WARNING: {warning}')


def find_shared_images(first: Sequence[str], second: Sequence[str]) -> List[Tuple[str, str]]:
    """Images of one data set that another has too: the same path, or the same name and content.

    Only files of the same name and size are read; under other names copies are not found.

    Args:
        first: Paths of one data set's images.
        second: Paths of the other's images.

    Returns:
        A pair of paths for each image of ``second`` that is in ``first``.
    """
    both = {_name_and_size(path) for path in first} & {_name_and_size(path) for path in second}
    known = {_content(path): path for path in first[::-1] if _name_and_size(path) in both}
    candidates = [path for path in dict.fromkeys(second) if _name_and_size(path) in both]
    return [(known[_content(path)], path) for path in candidates if _content(path) in known]


def _name_and_size(path: str) -> Hashable:
    file = Path(path)
    return (file.name, file.stat().st_size) if file.is_file() else path


def _content(path: str) -> str:
    """What tells a file's content; of a path that is no local file, the path."""
    return sha256_of(Path(path)) if Path(path).is_file() else path


def compare_with_training(images: Dict[str, List[str]]) -> Dict[str, List[str]]:
    """Images of other splits that the training split has too."""
    shared: Dict[str, List[str]] = {}
    for split, paths in images.items():
        pairs = find_shared_images(images['train'], paths) if split != 'train' else []
        if pairs:
            shared[split] = [f'{a!r} = {b!r}' for a, b in pairs]
            print(
                f'{split}:\n  WARNING: {len(pairs)} images are training images too, by path or by '
                f'name and content; the first: {shared[split][0]}'
            )
    return shared


def run(args: argparse.Namespace) -> int:
    """Check the config and its data, and print the report; the status is 1 if there are errors."""
    cfg = read_config(args.config, args.cfg_options, needs=['model.decode_head'])
    prepare_outputs({'--json': args.json}, find_inputs(cfg, files=[args.config]))
    loaders = [f'{split}_dataloader' for split in SPLITS if cfg.get(f'{split}_dataloader')]
    if not loaders:
        raise ConfigError(
            f'config {str(args.config)!r}: expected a train_, val_ or test_dataloader, found none'
        )
    for loader in loaders:
        require(cfg, f'{loader}.dataset', args.config)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    try:
        model = read_model_facts(cfg)
    except ValueError as error:
        raise ConfigError(f'config {str(args.config)!r}: {error}') from error
    if model is None:
        raise ConfigError(f'config {str(args.config)!r}: expected class names in model.decode_head')
    seen: Dict[str, List[Dict[str, Any]]] = {}
    splits = [split for split in SPLITS if cfg.get(f'{split}_dataloader')]
    surveys: Dict[str, Survey] = dict(config=check_settings(cfg, splits, model))
    print_report('config', surveys['config'])
    images: Dict[str, List[str]] = dict(train=[])
    for split in splits:
        configs = list(unwrap(cfg[f'{split}_dataloader'].dataset.to_dict()))
        same = next((other for other, known in seen.items() if known == configs), None)
        if same is not None:
            print(f'{split}: the same as {same}')
            continue
        seen[split] = configs
        surveys[split], images[split] = survey_split(cfg, split, configs, model)
        print_report(split, surveys[split])
    shared = compare_with_training(images)
    errors = sum(len(texts) for survey in surveys.values() for texts in survey.errors.values())
    warnings = sum(len(survey.warnings()) for survey in surveys.values()) + len(shared)
    print(f'{errors} errors, {warnings} warnings')
    if args.json is not None:
        report = dict(
            config=str(args.config),
            num_errors=errors,
            num_warnings=warnings,
            settings=dict(
                errors=surveys['config'].to_dict()['errors'], warnings=surveys['config'].warnings()
            ),
            splits={split: surveys[split].to_dict() for split in seen},
            shared_with_training={split: count_and_list(pairs) for split, pairs in shared.items()},
        )
        write_json(report, args.json)
        print(args.json)
    return 1 if errors else 0
