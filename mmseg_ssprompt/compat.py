"""What the stack underneath has to be, and fixes for it that do nothing where not needed."""

import contextlib
import importlib.metadata
import importlib.util
import re
import sys
from types import ModuleType
from typing import Any, Callable, NamedTuple, Optional, Tuple

__all__ = ['allow_mmcv_without_ops', 'require_packages']

_COMPILED_OPS = 'mmcv._ext'


class _Need(NamedTuple):
    """A package that has to be there, by the names that it is imported and installed by."""

    module: str
    distributions: Tuple[str, ...]  # the first is the usual one
    oldest: str = '0'


_OPENMMLAB = (
    _Need('mmengine', ('mmengine', 'onedl-mmengine'), '0.10.4'),
    _Need('mmcv', ('mmcv', 'mmcv-lite', 'onedl-mmcv'), '2.0.0'),
    _Need('mmseg', ('mmsegmentation', 'onedl-mmsegmentation'), '1.2.2'),
)
_OTHERS = (
    _Need('torch', ('torch',), '2.1'),
    _Need('torchvision', ('torchvision',), '0.16'),
    _Need('safetensors', ('safetensors',), '0.4'),
    _Need('segment_anything', ('segment-anything',)),
    _Need('filelock', ('filelock',), '3.13'),
    _Need('ftfy', ('ftfy',)),
    _Need('regex', ('regex',)),
    _Need('numpy', ('numpy',)),
    _Need('scipy', ('scipy',)),
    _Need('matplotlib', ('matplotlib',)),
    _Need('PIL', ('pillow',)),
)
_UPSTREAM = '"mmengine>=0.10.4,<1.0.0" "mmsegmentation>=1.2.2,<1.3.0"'
#: Ways to install OpenMMLab where there is nothing of it, and what they install.
_WAYS = {
    'upstream, without compiled operators': f'pip install "mmcv-lite>=2.0.0,<2.2.0" {_UPSTREAM}',
    'upstream, compiled': f'mim install "mmcv>=2.0.0,<2.2.0" {_UPSTREAM}',
    'the maintained fork': 'pip install "onedl-mmcv>=2.3.6" "onedl-mmengine>=0.10.12" '
    '"onedl-mmsegmentation>=1.4.2"',
}


def require_packages() -> None:
    """Say which packages are missing or too old, and how to install them.

    They are not among the package's requirements, so that installing it replaces nothing: pip
    would lay ``mmcv-lite`` over a compiled ``mmcv``, upstream over a fork (all of them write the
    same packages), and another torch over the one that mmcv was compiled for.

    Raises:
        ImportError: If one cannot be found or is too old, with all such packages.
    """
    needs = (*_OPENMMLAB, *_OTHERS)
    missing = [need for need in needs if importlib.util.find_spec(need.module) is None]
    there = [need for need in needs if need not in missing]
    old = [(need, *found) for need in there if (found := _find_old(need)) is not None]
    if not missing and not old:
        return
    problems = [f'{need.module}: none found' for need in missing] + [
        f'{need.module}: {need.oldest} or newer is needed, {name} {version} was found'
        for need, name, version in old
    ]
    remedies = ['Installing mmseg_ssprompt changes none of them.']
    if any(need in _OPENMMLAB for need in missing):
        ways = ', or '.join(f'`{command}` ({what})' for what, command in _WAYS.items())
        remedies.append(f'For mmengine, mmcv and mmseg run {ways}.')
    others = [need.distributions[0] for need in missing if need in _OTHERS]
    if others:
        remedies.append(f'For the others that are missing run `pip install {" ".join(others)}`.')
    if old:
        wanted = ' '.join(f'"{name}>={need.oldest}"' for need, name, _ in old)
        remedies.append(
            f'For what is too old run `pip install {wanted}`, which replaces it; in another '
            'environment if programs here need it as it is, as a compiled mmcv needs its torch.'
        )
    raise ImportError(
        f'mmseg_ssprompt needs packages that are not there ({"; ".join(problems)}). '
        + ' '.join(remedies)
    )


def _find_old(need: _Need) -> Optional[Tuple[str, str]]:
    """The distribution that is there and its version, if it is older than needed."""
    for name in need.distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(name)
            return (name, version) if _release(version) < _release(need.oldest) else None
    return None  # not installed by pip: whoever laid it there knows its version


def _release(version: str) -> Tuple[int, ...]:
    """The first three numbers of a version; (2, 1, 0) for 2.1+cu121."""
    numbers = re.findall(r'\d+', version.partition('+')[0])
    return tuple(map(int, [*numbers, 0, 0][:3]))


def allow_mmcv_without_ops() -> None:
    """Let mmseg be imported where mmcv was installed without compiled operators.

    mmsegmentation 1.2.2 imports ``mmcv.ops`` in many places (``mmseg/utils/mask_classification.py``
    is the first), mostly for what is plain Python there. With ``mmcv-lite`` that import fails:
    each operator's file loads ``mmcv._ext`` (``mmcv/utils/ext_loader.py``). A stand-in takes the
    place of ``mmcv._ext`` while ``mmcv.ops`` is imported, and is taken out again, since mmengine's
    ``mmcv_full_available`` concludes from it that the operators are there. An operator that needs
    compiled code raises when it is called.

    Nothing happens where mmseg does without: with compiled mmcv, and with the OneDL fork, which
    guards its imports. It has to run before anything else imports mmseg.
    """
    already_imported = set(sys.modules)
    try:
        importlib.import_module('mmseg.utils')
    except ModuleNotFoundError as error:
        if error.name != _COMPILED_OPS:
            raise
    else:
        return
    # What the failed attempt has imported half-way must not stay.
    for name in set(sys.modules) - already_imported:
        if f'{name}.'.startswith(('mmcv.ops.', 'mmseg.utils.')):
            del sys.modules[name]
    sys.modules[_COMPILED_OPS] = _OpsStandIn(_COMPILED_OPS)
    try:
        importlib.import_module('mmcv.ops')
    finally:
        del sys.modules[_COMPILED_OPS]


class _OpsStandIn(ModuleType):
    """Has every operator, and none works."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing_op(*args: Any, **kwargs: Any) -> None:
            raise NotImplementedError(
                f'the compiled operator {name!r} of mmcv was called, but mmcv was installed '
                'without compiled operators (mmcv-lite): install mmcv itself to use it'
            )

        return missing_op
