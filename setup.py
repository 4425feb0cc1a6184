"""Packaging; the tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_requirements(name):
    """The lines of a requirements file that name a package."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-'))]


def read_version():
    """The version, without importing the package."""
    namespace = {}
    exec((ROOT / 'mmseg_ssprompt' / 'version.py').read_text(encoding='utf-8'), namespace)
    return namespace['__version__']


setup(
    name='mmseg-ssprompt',
    version=read_version(),
    description='SSPrompt for MMSegmentation: learn the prompts of a frozen promptable segmenter',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmseg_ssprompt', 'mmseg_ssprompt.*']),
    package_data={'mmseg_ssprompt': ['assets/*']},
    # Nothing that another package may need in a version of its own, and no bounds, so that pip
    # replaces nothing that is there. torch, mmengine, mmcv and mmsegmentation are extras, and what
    # is missing or too old is said when the package is imported (compat.py).
    install_requires=read_requirements('runtime'),
    extras_require={
        'torch': ['torch>=2.1', 'torchvision>=0.16'],
        'openmmlab': [
            'mmcv-lite>=2.0.0,<2.2.0',
            'mmengine>=0.10.4,<1.0.0',
            'mmsegmentation>=1.2.2,<1.3.0',
        ],
        'onedl': [
            'onedl-mmcv>=2.3.6',
            'onedl-mmengine>=0.10.12',
            'onedl-mmsegmentation>=1.4.2',
        ],
        'tests': read_requirements('tests'),
    },
    zip_safe=False,
)
