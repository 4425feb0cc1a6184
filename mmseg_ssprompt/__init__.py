"""SSPrompt for MMSegmentation: learn the prompts of a frozen promptable segmenter.

Importing the package registers everything under mmseg's scope; configs do so by
``custom_imports = dict(imports=['mmseg_ssprompt'])``. ``analysis`` and ``cli`` register
nothing and must be imported explicitly: matplotlib takes longer than all of the rest.
"""

# ruff: noqa: E402
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
    'hooks',
    'miniature',
    'models',
    'prompt_files',
    'weights',
]
