"""What a record says of where it was made: the commit and the versions."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Dict

__all__ = ['ROOT', 'describe_commit', 'describe_versions']

ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = (
    *('torch', 'torchvision', 'mmengine', 'onedl-mmengine', 'mmcv', 'mmcv-lite', 'onedl-mmcv'),
    *('mmsegmentation', 'onedl-mmsegmentation', 'segment-anything', 'safetensors', 'numpy'),
)


def describe_commit() -> str:
    """Name the commit of the checkout, with ``-dirty`` if files differ; 'unknown' without git."""
    command = ['git', 'describe', '--always', '--abbrev=40', '--exclude=*', '--dirty']
    try:
        return subprocess.check_output(command, cwd=ROOT, text=True, stderr=subprocess.PIPE).strip()
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def describe_versions() -> Dict[str, str]:
    """Versions by distribution, of Python and what is installed of the stack."""
    versions = dict(python=sys.version.split()[0])
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
