"""Each block of code on the pages runs, or says why not."""

import ast
import json
import re
from pathlib import Path
from typing import Any, Iterator

import mmengine.registry
import mmseg.registry
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import Registry

import mmseg_ssprompt  # noqa: F401  (registers what configs name)
from code_blocks import PAGES, ROOT, Block, all_blocks, read_blocks
from documented_commands import check_command, commands_of
from fit_trees import make_photographs
from mmseg_ssprompt.miniature.shapes_dataset import world_metainfo
from own_photographs import draw_photograph, save
from short_fit import few_iterations, short_fit

from mmseg.apis import init_model  # isort: skip  (after mmseg_ssprompt)

#: What pages call their blocks. Only text is neither parsed nor run: paths, formulas, messages.
KINDS = {'bash', 'python', 'text', 'indented', 'bibtex'}
#: Pages whose blocks of Python are files that a test of their own runs.
FILES = {'docs/own_data.md': 'test_own_data_page.py', 'docs/start': 'test_dev/test_walk_ways.py'}
#: What a line of a command begins with.
COMMAND = re.compile(
    r'([A-Z_]+=\S+ )*(mmseg-ssprompt|python -m|python \w+/|make|pip|mim|hf|tools/\w+\.sh|sbatch) '
)
REGISTRIES = [
    each
    for module in (mmengine.registry, mmseg.registry)
    for each in vars(module).values()
    if isinstance(each, Registry)
]


def is_config(code: str) -> bool:
    """Whether Python only sets values, as configs do."""
    return all(
        isinstance(node, ast.Assign) or (isinstance(node, ast.Expr) and is_dict(node.value))
        for node in ast.parse(code).body
    )


def is_dict(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'dict'


def is_file(block: Block) -> bool:
    """Whether it is a file that another test runs."""
    owner = next((test for start, test in FILES.items() if block.page.startswith(start)), None)
    assert owner is None or (ROOT / 'tests' / owner).is_file()
    return owner is not None and re.match(r'# \w+\.py', block.code) is not None


PYTHON = [block for block in all_blocks('python') if not is_file(block)]
CONFIGS = [block for block in PYTHON if block.reason is None and is_config(block.code)]
PROGRAMS = [block for block in PYTHON if block.reason is None and not is_config(block.code)]
NOTEBOOKS = sorted((ROOT / 'docs' / 'notebooks').glob('*.ipynb'))


def test_pages_have_blocks_of_known_kinds():
    """One of another kind would be neither parsed nor run."""
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        blocks = list(read_blocks(page))
        assert {block.kind for block in blocks} <= KINDS, page
        assert text.count('\n```') + text.startswith('```') == 2 * sum(
            block.kind != 'indented' for block in blocks
        ), f'{page}: a block is not closed, or has a mark that is not read'


@pytest.mark.parametrize('block', all_blocks('text'), ids=str)
def test_texts_hide_no_commands(block):
    assert not any(COMMAND.match(line) for line in block.code.splitlines())


def test_indented_blocks_are_commands():
    """Whatever else there is has a language, which a block can only have between marks."""
    for block in all_blocks('indented'):
        assert any(COMMAND.match(line) for line in block.code.splitlines()), str(block)


@pytest.mark.parametrize('block', all_blocks('bash', 'indented'), ids=str)
def test_commands_take_their_arguments(block, monkeypatch):
    """Those that are not walked, too: it is their data that is not there."""
    monkeypatch.chdir(ROOT)
    page = (ROOT / block.page).read_text(encoding='utf-8')
    commands = list(commands_of(block.code))
    assert commands
    for words in commands:
        check_command(words, page)


def test_wrong_commands_are_found():
    wrong = (
        *('mmseg-ssprompt fit --picture a', 'python tools/train.py', 'python -m dev.nothing'),
        *('make nothing', 'pip install ".[nothing]"', 'tools/nothing.sh', 'frobnicate'),
        *('mmseg-ssprompt mmseg train --nothing 1', 'mim train mmseg_ssprompt nothing.py'),
    )
    for text in wrong:
        (words,) = commands_of(text)
        with pytest.raises((SystemExit, AssertionError, ImportError, ValueError)):
            check_command(words)


@pytest.mark.parametrize('block', [b for b in all_blocks('python') if is_file(b)], ids=str)
def test_files_are_python(block):
    compile(block.code, str(block), 'exec')


@pytest.mark.parametrize('block', [b for b in PYTHON if b.reason], ids=str)
def test_blocks_that_are_not_run_have_a_reason_and_are_python(block):
    compile(block.code, str(block), 'exec')
    assert len(block.reason) > 15


@pytest.mark.parametrize('block', CONFIGS, ids=str)
def test_configs_are_built(block):
    """Each is read as a config, and what it names by ``type`` is registered."""
    assigned = '\n'.join(
        ast.unparse(node) if isinstance(node, ast.Assign) else f'part_{n} = {ast.unparse(node)}'
        for n, node in enumerate(ast.parse(block.code).body)
    )
    # Bases lie beside the config, of which mmengine makes a temporary file.
    config = Config.fromstring(assigned.replace("'configs/", f"'{ROOT}/configs/"), '.py')
    assert len(config)
    for name in types_of(config.to_dict()):
        assert any(each.get(name) is not None for each in REGISTRIES), name


def types_of(value: Any) -> Iterator[str]:
    """The entries ``type`` of a config."""
    if isinstance(value, dict):
        if isinstance(value.get('type'), str):
            yield value['type']
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from types_of(entry)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """The files that programs on the pages name: photographs, a fit, a checkpoint."""
    folder = make_photographs(tmp_path_factory.mktemp('pages'))
    (folder / 'configs').symlink_to(ROOT / 'configs')
    for name in ('picture.png', 'picture.jpg', 'photo.jpg', 'new_photos/0.png'):
        save(draw_photograph()[0], folder / name)
    short_fit(folder, folder / 'runs' / 'first')
    return folder


@pytest.fixture
def checkpoint(folder) -> Path:
    """A checkpoint of the demo, as its training writes it."""
    config = Config.fromfile(ROOT / 'configs' / 'ssprompt_sam-tiny_shapes.py')
    model = init_model(config, device='cpu')
    meta = dict(dataset_meta=world_metainfo('downstream'))
    file = folder / 'work_dirs' / 'demo' / 'train' / 'iter_300.pth'
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), file)
    return file


def test_there_are_programs_and_configs():
    assert len(PROGRAMS) >= 4
    assert len(CONFIGS) >= 10


@pytest.mark.slow
@pytest.mark.parametrize('block', PROGRAMS, ids=str)
def test_programs_run(block, folder, checkpoint, monkeypatch):
    monkeypatch.chdir(folder)
    with few_iterations():
        exec(compile(block.code, str(block), 'exec'), dict(__name__='__main__'))


# Notebooks


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 2


@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_are_stored_as_they_were_run(file):
    """With outputs, light, and without what belongs to a machine."""
    text = file.read_text(encoding='utf-8')
    notebook = json.loads(text)
    assert len(text) < 600_000
    assert not re.search(r'"[^"]*(?:/tmp/|/home/|/root/|/Users/)', text)
    code = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    assert [cell['execution_count'] for cell in code] == list(range(1, len(code) + 1))
    assert all(output['output_type'] != 'error' for cell in code for output in cell['outputs'])
    prose = ''.join(
        ''.join(cell['source']) for cell in notebook['cells'] if cell['cell_type'] == 'markdown'
    )
    decimals = set(re.findall(r'\d+\.\d+', prose))
    assert decimals <= {'0.5'}, 'figures are shown by the cells, not typed'


@pytest.mark.slow
@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_run(file, tmp_path):
    from dev.run_notebooks import run_notebook

    stored = json.loads(file.read_text(encoding='utf-8'))
    made = run_notebook(file, tmp_path)
    kinds = [
        [output['output_type'] for output in cell['outputs']]
        for cell in made.cells
        if cell.cell_type == 'code'
    ]
    code = [cell for cell in stored['cells'] if cell['cell_type'] == 'code']
    assert kinds == [[output['output_type'] for output in cell['outputs']] for cell in code]
