"""What a record says of where it was made: the commit and the versions."""

import hashlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Dict

__all__ = ['ROOT', 'describe_commit', 'describe_versions', 'digest_code']

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


def digest_code() -> str:
    """SHA-256 of the paths and contents of all files in ``mmseg_ssprompt/`` and ``configs/``."""
    digest = hashlib.sha256()
    folders = (ROOT / 'mmseg_ssprompt', ROOT / 'configs')
    files = [file for folder in folders for file in folder.rglob('*') if file.is_file()]
    for file in sorted(files):
        if '__pycache__' not in file.parts:
            digest.update(f'{file.relative_to(ROOT).as_posix()}\0'.encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def describe_versions() -> Dict[str, str]:
    """Versions by distribution, of Python and what is installed of the stack."""
    versions = dict(python=sys.version.split()[0])
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
