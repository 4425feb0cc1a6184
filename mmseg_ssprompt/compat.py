"""Fixes for the stack underneath; each does nothing where it is not needed."""

import importlib.util
import sys
from types import ModuleType
from typing import Any, Callable

__all__ = ['allow_mmcv_without_ops', 'require_openmmlab']

_COMPILED_OPS = 'mmcv._ext'
_IMPORT_NAMES = ('mmengine', 'mmcv', 'mmseg')


def require_openmmlab() -> None:
    """Say how to install OpenMMLab if it is not there.

    It is not among the package's hard requirements: pip would lay ``mmcv-lite`` over a compiled
    ``mmcv``, or upstream over a fork, since all of them write the same packages.

    Raises:
        ImportError: If mmengine, mmcv or mmseg cannot be found.
    """
    missing = [name for name in _IMPORT_NAMES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'mmseg_ssprompt needs mmengine, mmcv and mmseg, but cannot find {missing}. Install '
            'them with `pip install "mmseg-ssprompt[openmmlab]"` (upstream, mmcv-lite), with '
            '`pip install "mmseg-ssprompt[onedl]"` (the maintained fork), or with '
            '`mim install -r requirements/mminstall.txt` (upstream, compiled mmcv).'
        )


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
