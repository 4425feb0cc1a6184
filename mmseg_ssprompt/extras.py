"""Packages that single features need, which the package's extras install."""

import importlib
from types import ModuleType
from typing import Dict, NamedTuple, Optional

__all__ = ['EXTRAS', 'Extra', 'MissingExtraError', 'how_to_install', 'import_extra', 'lacks']


class MissingExtraError(ImportError, ValueError):
    """A package that a feature needs is not there; the text says how to install it."""


class Extra(NamedTuple):
    """What has to be installed for a module.

    Attributes:
        requirement: As pip takes it.
        extra: The extra in ``setup.py`` that has it.
    """

    requirement: str
    extra: str


#: By the names that they are imported by. A test compares them with ``setup.py``.
EXTRAS: Dict[str, Extra] = dict(
    timm=Extra('timm>=1.0.12', 'seem'),
    faster_coco_eval=Extra('faster-coco-eval>=1.6', 'instances'),
    cityscapesscripts=Extra('cityscapesscripts>=2.2.4', 'cityscapes'),
    rasterio=Extra('rasterio>=1.3', 'geo'),
    gradio=Extra('gradio>=6.0', 'studio'),
    onnx=Extra('onnx>=1.18', 'onnx'),
    onnxruntime=Extra('onnxruntime>=1.22', 'onnx'),
    onnxscript=Extra('onnxscript>=0.5', 'onnx'),
    huggingface_hub=Extra('huggingface_hub>=0.34', 'hub'),
)


def import_extra(module: str, feature: str) -> ModuleType:
    """Import a module that an extra installs.

    Args:
        module: Its dotted name, in a package of :data:`EXTRAS`.
        feature: What needs it, for the error, such as ``"SEEM's variant davit_d3"``.

    Raises:
        MissingExtraError: If it cannot be imported, with what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise lacks(module, feature, error) from error


def lacks(module: str, feature: str, reason: Optional[Exception] = None) -> MissingExtraError:
    """The error of a feature whose package is not there, or too old.

    Args:
        module: As for :func:`import_extra`.
        feature: As for :func:`import_extra`.
        reason: What importing or using it has raised. Defaults to None: it was not found.
    """
    package = module.partition('.')[0]
    why = '' if reason is None else f' ({" ".join(str(reason).split())})'
    return MissingExtraError(
        f'{feature}: expected {EXTRAS[package].requirement}, which is not installed{why}. Install '
        f'it: {how_to_install(package)}',
        name=package,
    )


def how_to_install(package: str) -> str:
    """The command that installs a package of :data:`EXTRAS`, and the extra that has it."""
    needed = EXTRAS[package]
    return f'pip install "{needed.requirement}" (the extra [{needed.extra}])'
