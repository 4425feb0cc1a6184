"""Files of SEEM in the official format, with the weights of the golden files."""

from pathlib import Path

import pytest

from seem_files import save_official_file


@pytest.fixture(scope='session')
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the variant ``focal_tiny``."""
    return _save('tiny', tmp_path_factory)


@pytest.fixture(scope='session')
def tiny_deform_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the variant ``focal_tiny_deform``."""
    return _save('tiny_deform', tmp_path_factory)


def _save(name: str, factory: pytest.TempPathFactory) -> Path:
    path = factory.mktemp('seem') / f'seem_{name}.pt'
    save_official_file(name, path)
    return path
