"""Models as files that run without PyTorch: what ``mmseg-ssprompt export`` does."""

from .exporting import Exported, export
from .refusals import ExportError

__all__ = ['ExportError', 'Exported', 'export']
