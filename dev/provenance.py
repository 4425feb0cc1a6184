"""What a record says of where it was made: the code, the commit and the versions."""

import hashlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Dict

__all__ = ['ROOT', 'describe_code', 'describe_commit', 'describe_versions']

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


def describe_code(root: Path = ROOT) -> str:
    """The digest of what results depend on: the files of ``mmseg_ssprompt/`` and ``configs/``.

    Returns:
        The first 12 digits of a SHA-256 of their names and contents, without caches of bytecode.
    """
    digest = hashlib.sha256()
    for folder in ('mmseg_ssprompt', 'configs'):
        for path in sorted(each for each in (root / folder).rglob('*') if each.is_file()):
            if '__pycache__' not in path.parts:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f'{path.relative_to(root).as_posix()} {content}\n'.encode())
    return digest.hexdigest()[:12]


def describe_versions() -> Dict[str, str]:
    """Versions by distribution, of Python and what is installed of the stack."""
    versions = dict(python=sys.version.split()[0])
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
