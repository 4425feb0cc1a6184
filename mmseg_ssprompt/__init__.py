"""SSPrompt for MMSegmentation: learn the prompts of a frozen promptable segmenter.

Importing the package registers everything under mmseg's scope; configs do so by
``custom_imports = dict(imports=['mmseg_ssprompt'])``. ``analysis`` and ``cli`` register
nothing and must be imported explicitly: matplotlib takes longer than all of the rest.
"""

# ruff: noqa: E402
from typing import TYPE_CHECKING, Any

from .compat import allow_mmcv_without_ops, require_packages
from .version import __version__

require_packages()
allow_mmcv_without_ops()  # before anything imports mmseg.models

from . import cache, datasets, evaluation, hooks, miniature, models, prompt_files, weights

__all__ = [
    '__version__',
    'cache',
    'datasets',
    'evaluation',
    'fit',
    'hooks',
    'miniature',
    'models',
    'predict',
    'prompt_files',
    'publish',
    'weights',
]

if TYPE_CHECKING:
    from .fitting.fit import fit
    from .prediction import predict
    from .publishing import publish


def __getattr__(name: str) -> Any:
    """``fit``, ``predict`` and ``publish``, whose modules are imported when they are asked for."""
    if name == 'fit':
        from .fitting.fit import fit

        return fit
    if name == 'predict':
        from .prediction import predict

        return predict
    if name == 'publish':
        from .publishing import publish

        return publish
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
