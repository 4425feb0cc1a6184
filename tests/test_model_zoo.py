"""The model zoo's metafiles and pages say of each config what the config says, and nothing else.

A config without an entry is an error that prints the entry, ready to be copied into the metafile of
its folder; the row for the README is a line like its neighbours.
"""

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import yaml
from mmengine.config import Config, ConfigDict

from mmseg_ssprompt.models.sam.sam_variants import get_variant

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [ROOT / 'configs', ROOT / 'configs' / 'ablations']
CONFIGS = sorted(file for folder in FOLDERS for file in folder.glob('*.py'))
BACKBONES = dict(
    SAM=dict(vit_b='ViT-B', vit_l='ViT-L', vit_h='ViT-H', tiny='sam-tiny'),
    SEEM=dict(
        focal_t='Focal-T',
        focal_l='Focal-L',
        davit_d3='DaViT-d3',
        sam_vit_b='SAM-ViT-B',
        sam_vit_l='SAM-ViT-L',
        tiny='seem-tiny',
    ),
)
METRICS = {'mIoU', 'mIoU(ms+flip)', 'PQ', 'AP'}
#: Tasks by the evaluator.
TASKS = dict(
    PanopticMetric='Panoptic Segmentation',
    InstanceMetric='Instance Segmentation',
    CityscapesInstanceMetric='Instance Segmentation',
)
#: Names of data sets in the zoo (those of mmseg's metafiles, where it has them) by their type.
DATASETS = dict(
    ADE20KDataset='ADE20K',
    ADE20KInstanceDataset='ADE20K',
    ADE20KPanopticDataset='ADE20K',
    CityscapesDataset='Cityscapes',
    CityscapesInstanceDataset='Cityscapes',
    CityscapesPanopticDataset='Cityscapes',
    BDD100KDataset='BDD100K',
    MapillaryDataset_v1='Mapillary Vistas v1.2',
    PascalContextDataset='Pascal Context',
    PascalContextDataset59='Pascal Context 59',
    ACDCDataset='ACDC',
    CamVidDataset='CamVid',
    ImageFolderDataset='a folder of photographs',
    ShapesWorldDataset='ShapesWorld',
    ShapesWorldInstanceDataset='ShapesWorld',
    ShapesCoastDataset='ShapesCoast',
)


def read_yaml(name: str) -> Dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding='utf-8'))


METAFILES = read_yaml('model-index.yml')['Import']
COLLECTIONS = [c for name in METAFILES for c in read_yaml(name).get('Collections', [])]
ENTRIES = [entry for name in METAFILES for entry in read_yaml(name)['Models']]
BY_CONFIG = {entry['Config']: entry for entry in ENTRIES}


def short(file: Path) -> str:
    """Path within the repository."""
    return file.relative_to(ROOT).as_posix()


@cache
def read_config(file: Path) -> Config:
    return Config.fromfile(file)


def data_name(dataset: ConfigDict) -> str:
    """The zoo's name of a data set, with ACDC's condition if there is one."""
    if dataset.type in ('FewShotDataset', 'EmbeddedDataset'):
        return data_name(dataset.dataset)
    conditions = dataset.get('conditions')
    return DATASETS[dataset.type] + (f' ({", ".join(conditions)})' if conditions else '')


def base_model(config: Config) -> Tuple[str, str]:
    """Base model and the variant of its image encoder, also where samples are embedded."""
    encoder = config.model.backbone.get('encoder', config.model.backbone)
    encoder = encoder.get('sam', encoder)  # SAM's beside CLIP's
    return 'SEEM' if encoder.type == 'SEEMImageEncoder' else 'SAM', encoder.variant


def input_size(config: Config) -> str:
    """SAM's frame; SEEM's sizes of the shortest side, and of the longest at most."""
    base, variant = base_model(config)
    if base == 'SAM':
        return '{0}x{0}'.format(get_variant(variant).image_size)
    dataset = config.test_dataloader.dataset
    steps = dataset.get('dataset', dataset).pipeline
    (resize,) = (step for step in steps if step.type == 'SEEMResize')
    return f'{resize.min_size}/{resize.max_size}'


def expected_entry(file: Path) -> Dict[str, Any]:
    """The entry of a config that nobody has measured; ``Architecture`` ends with the method."""
    config = read_config(file)
    base, variant = base_model(config)
    title, url = 'Learning to Prompt Segment Anything Models', 'https://arxiv.org/abs/2401.04651'
    return {
        'Name': file.stem,
        'In Collection': 'SSPrompt',
        'Results': {
            'Task': TASKS.get(config.test_evaluator.type, 'Semantic Segmentation'),
            'Dataset': data_name(config.test_dataloader.dataset),
            'Metrics': {},
        },
        'Config': short(file),
        'Metadata': {
            'Training Data': data_name(config.train_dataloader.dataset),
            'Batch Size': config.train_dataloader.batch_size,
            'Architecture': [base, BACKBONES[base][variant], 'SSPrompt'],
        },
        'Paper': {'Title': title, 'URL': url},
        'Code': 'mmseg_ssprompt/models/heads/ssprompt_head.py',
        'Framework': 'PyTorch',
    }


def test_every_config_has_one_entry():
    missing = [file for file in CONFIGS if short(file) not in BY_CONFIG]
    stanzas = yaml.safe_dump([expected_entry(file) for file in missing], sort_keys=False)
    assert not missing, f'add to metafile.yml in the folder of the config:\n{stanzas}'
    twice = [name for name, count in Counter(e['Config'] for e in ENTRIES).items() if count > 1]
    assert twice == []


def test_every_entry_has_a_config():
    assert [name for name in BY_CONFIG if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize('name', METAFILES)
def test_entries_are_in_the_metafile_of_their_folder(name):
    folder = Path(name).parent
    assert {Path(entry['Config']).parent for entry in read_yaml(name)['Models']} == {folder}


def without(fields: Dict[str, Any], *names: str) -> Dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in names}


@pytest.mark.parametrize('file', CONFIGS, ids=short)
def test_entry_says_what_the_config_says(file):
    entry, expected = BY_CONFIG[short(file)], expected_entry(file)
    for field in ('Name', 'In Collection', 'Config', 'Paper', 'Code', 'Framework'):
        assert entry[field] == expected[field]
    assert without(entry['Results'], 'Metrics') == without(expected['Results'], 'Metrics')
    found, wanted = entry['Metadata'], expected['Metadata']
    assert found['Architecture'][:2] == wanted['Architecture'][:2]
    assert len(found['Architecture']) == 3
    measured = ('Architecture', 'Memory (GB)', 'Training Resources')
    assert without(found, *measured) == without(wanted, 'Architecture')


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry['Name'])
def test_metrics_are_of_segmentation_in_percent(entry):
    metrics = entry['Results']['Metrics']
    assert metrics is not None  # mim reads {}, an empty field it does not
    assert set(metrics) <= METRICS
    assert all(0 < value <= 100 for value in metrics.values())


def test_the_collection_names_all_data_and_files_that_exist():
    (collection,) = COLLECTIONS
    assert {entry['In Collection'] for entry in ENTRIES} == {collection['Name']}
    trained_on = {entry['Metadata']['Training Data'].split(' (')[0] for entry in ENTRIES}
    assert set(collection['Metadata']['Training Data']) == trained_on
    assert (ROOT / collection['README']).is_file()
    assert all((ROOT / entry['Code']).is_file() for entry in (collection, *ENTRIES))


def read_rows(readme: Path) -> List[Dict[str, str]]:
    """The rows, by column, of all tables of a page that have configs."""
    rows, columns = [], None
    for line in readme.read_text(encoding='utf-8').splitlines():
        if not line.startswith('|'):
            columns = None
            continue
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if columns is None:
            columns = cells
        elif 'config' in columns and set(line) - set('|-: '):
            assert len(cells) == len(columns), line
            rows.append(dict(zip(columns, cells)))
    return rows


def linked_file(row: Dict[str, str], folder: Path) -> Path:
    name = row['config']
    assert name.startswith('[config](') and name.endswith(')'), name
    return folder / name[len('[config](') : -1]


@pytest.mark.parametrize('folder', FOLDERS, ids=short)
def test_the_page_has_one_row_for_every_config(folder):
    linked = Counter(linked_file(row, folder) for row in read_rows(folder / 'README.md'))
    assert linked == Counter(file for file in CONFIGS if file.parent == folder)


ROWS = [(folder, row) for folder in FOLDERS for row in read_rows(folder / 'README.md')]


@pytest.mark.parametrize(('folder', 'row'), ROWS, ids=[row['config'] for _, row in ROWS])
def test_row_agrees_with_metafile_and_config(folder, row):
    file = linked_file(row, folder)
    entry, config = BY_CONFIG[short(file)], read_config(file)
    assert row['Backbone'] == entry['Metadata']['Architecture'][1]
    assert row['Input size'] == input_size(config)
    handcrafted = file.stem.endswith('_zero-shot')  # nothing trains
    assert row['Lr schd'] == ('' if handcrafted else str(config.train_cfg.max_iters))
    metrics = entry['Results']['Metrics']
    for column in METRICS & set(row):
        assert row[column] == (str(metrics[column]) if column in metrics else '')
    if 'Mem (GB)' in row:
        assert row['Mem (GB)'] == str(entry['Metadata'].get('Memory (GB)', ''))
    assert bool(row.get('download')) == ('Weights' in entry)
