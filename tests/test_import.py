"""Importing the package registers components, and changes nothing of others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    """One process for all tests, since an import takes seconds."""
    folder = tmp_path_factory.mktemp('import')
    script, compat = ROOT / 'tests' / 'import_changes.py', ROOT / 'mmseg_ssprompt' / 'compat.py'
    subprocess.run(
        [sys.executable, str(script), str(folder), str(compat)],
        check=True,
        timeout=300,
        env={**os.environ, 'TORCH_HOME': str(folder / 'torch')},
    )
    return json.loads((folder / 'report.json').read_text())


def test_no_attribute_of_another_package_is_replaced(report):
    assert report['replaced'][0] == []
    assert report['sizes'][0] > 100_000


def test_no_entry_of_a_registry_is_replaced(report):
    assert report['replaced'][1] == []
    assert report['sizes'][1] > 300


def test_no_global_setting_is_changed(report):
    assert report['replaced'][2] == []


def test_components_are_registered(report):
    added = [entry for entry in report['added'] if 'SSPromptHead' in entry]
    assert added == ['registry model mmseg SSPromptHead']


def test_mmsegs_own_model_loads_its_checkpoint_from_a_url(report):
    assert report['differ'] and report['same']
