"""SSPrompt for MMSegmentation: learn the prompts of a frozen promptable segmenter.

Importing the package registers everything under mmseg's scope; configs do so by
``custom_imports = dict(imports=['mmseg_ssprompt'])``.
"""

# ruff: noqa: E402
from .compat import allow_mmcv_without_ops, require_openmmlab
from .version import __version__

require_openmmlab()
allow_mmcv_without_ops()  # before anything imports mmseg.models

from . import cache, datasets, engine, evaluation, models, visualization

__all__ = ['__version__', 'cache', 'datasets', 'engine', 'evaluation', 'models', 'visualization']
