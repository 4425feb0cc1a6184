"""What a feature lacks whose package is not installed is said in one line, with its extra."""

import ast
import contextlib
import importlib
import re
import sys
from pathlib import Path
from typing import Callable, Dict, Iterator

import pytest

from mmseg_ssprompt.evaluation import CityscapesInstanceMetric, InstanceMetric
from mmseg_ssprompt.extras import EXTRAS, MissingExtraError, import_extra
from mmseg_ssprompt.models.seem import SEEMImageEncoder
from mmseg_ssprompt.prediction import input_files
from mmseg_ssprompt.prediction.geotiff import TiffFacts
from mmseg_ssprompt.prediction.input_files import find_input_files
from mmseg_ssprompt.weights.hub import fetch_files
from own_photographs import draw_photograph, save
from test_packaging import ROOT, extras

#: Those that change what is installed beneath, and those for tests.
OF_THE_STACK = {'torch', 'openmmlab', 'onedl', 'tests'}


@contextlib.contextmanager
def without(package: str) -> Iterator[None]:
    """Let a package, and what of it was imported, be missing."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules)
              if name.partition('.')[0] == package}  # fmt: skip
    sys.modules[package] = None
    try:
        yield
    finally:
        del sys.modules[package]
        sys.modules.update(before)


def test_each_package_of_an_extra_is_known():
    declared = {line: extra for extra, lines in extras().items() for line in lines
                if extra not in OF_THE_STACK}  # fmt: skip
    assert {each.requirement: each.extra for each in EXTRAS.values()} == declared


def test_no_module_imports_one_of_them_when_it_is_imported():
    """So that the package is there without them, apart from what is there for one of them."""
    package = ROOT / 'mmseg_ssprompt'
    for file in sorted(package.rglob('*.py')):
        if file.relative_to(package).parts[0] in ('export', 'studio'):
            continue
        for node in ast.parse(file.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or '']
            assert not {name.partition('.')[0] for name in names} & set(EXTRAS), file


@pytest.mark.parametrize('package', EXTRAS)
def test_one_line_names_package_command_and_extra(package):
    with without(package), pytest.raises(MissingExtraError) as info:
        import_extra(f'{package}.anything', 'a feature')
    needed, text = EXTRAS[package], str(info.value)
    assert text.startswith(f'a feature: expected {needed.requirement}, which is not installed')
    assert text.endswith(f'pip install "{needed.requirement}" (the extra [{needed.extra}])')
    assert len(text.splitlines()) == 1
    assert isinstance(info.value, ImportError) and isinstance(info.value, ValueError)


def _predict_geotiff(folder: Path, patch: pytest.MonkeyPatch) -> None:
    save(draw_photograph()[0], folder / 'a.tif')
    facts = TiffFacts(is_georeferenced=True, size=(48, 64), is_upright=True)
    patch.setattr(input_files, 'read_tiff_facts', lambda file: facts)
    patch.setattr(input_files, 'can_read_windows', lambda: False)
    find_input_files([str(folder)])


def _measure_objects(folder: Path, patch: pytest.MonkeyPatch) -> None:
    with without('pycocotools'):
        InstanceMetric()


#: What needs each package, of those that this package imports itself.
FEATURES: Dict[str, Callable[[Path, pytest.MonkeyPatch], object]] = dict(
    timm=lambda *_: SEEMImageEncoder('davit_d3'),
    faster_coco_eval=_measure_objects,
    cityscapesscripts=lambda *_: CityscapesInstanceMetric(),
    rasterio=_predict_geotiff,
    huggingface_hub=lambda *_: fetch_files('hf://user/name', ['a']),
)


@pytest.mark.parametrize('package', FEATURES)
def test_each_feature_says_what_it_lacks(package, tmp_path, monkeypatch):
    with without(package), pytest.raises(MissingExtraError) as info:
        FEATURES[package](tmp_path, monkeypatch)
    needed, text = EXTRAS[package], str(info.value)
    assert f'pip install "{needed.requirement}" (the extra [{needed.extra}])' in text
    assert len(text.splitlines()) == 1


def test_all_extras_that_are_imported_have_a_feature_here():
    """Each name of ``EXTRAS`` that the package mentions in a call of ``import_extra``."""
    found = set()
    for file in (ROOT / 'mmseg_ssprompt').rglob('*.py'):
        found |= set(re.findall(r"(?:import_extra|lacks)\(\s*'(\w+)", file.read_text()))
    assert found <= set(FEATURES) | {'gradio', 'onnx', 'onnxruntime', 'onnxscript'}
    assert importlib.import_module('mmseg_ssprompt')
