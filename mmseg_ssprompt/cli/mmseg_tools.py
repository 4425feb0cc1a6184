"""Run one of MMSegmentation's own tools, with this package imported first.

    mmseg-ssprompt mmseg
    mmseg-ssprompt mmseg print_config CONFIG
    mmseg-ssprompt mmseg analysis_tools/get_flops CONFIG --shape 96 96

With mmcv-lite a tool that imports ``mmseg.models`` ends with an error unless this package is
imported before, and some do not import what a config names in ``custom_imports``.
"""

import argparse
import contextlib
import functools
import importlib.util
import runpy
import sys
from pathlib import Path
from typing import Any, Dict, Iterator

import numpy as np
from mmengine import analysis
from mmseg.visualization import SegLocalVisualizer
from torch import nn

__all__ = ['find_tool', 'list_tools', 'run']


def run(args: argparse.Namespace) -> None:
    """Run the tool as ``python TOOL ARGUMENTS`` would; without one, list them."""
    if args.tool is None:
        print('\n'.join(list_tools()))
        return
    path = find_tool(args.tool)
    sys.argv[:] = [str(path), *args.arguments]
    sys.path.insert(0, str(path.parent))
    with _inputs_without_their_shape(), _contiguous_images():
        runpy.run_path(str(path), run_name='__main__')


@contextlib.contextmanager
def _inputs_without_their_shape() -> Iterator[None]:
    """Let ``get_flops`` of mmseg 1.2.2 run, which fails with mmengine 0.10, whatever the model.

    It passes inputs and their shape to ``get_model_complexity_info``, which takes the one or the
    other. onedl-mmsegmentation has mended the tool.
    """
    original = analysis.get_model_complexity_info

    def measure(
        model: nn.Module, input_shape: Any = None, inputs: Any = None, **options: Any
    ) -> Any:
        shape = input_shape if inputs is None else None
        return original(model, input_shape=shape, inputs=inputs, **options)

    analysis.get_model_complexity_info = measure
    try:
        yield
    finally:
        analysis.get_model_complexity_info = original


@contextlib.contextmanager
def _contiguous_images() -> Iterator[None]:
    """Let ``browse_dataset`` run with OpenCV 5, which draws on contiguous arrays only.

    mmseg 1.2.2 draws class names on a view of the image whose channels are permuted.
    """
    original = SegLocalVisualizer.add_datasample

    @functools.wraps(original)
    def draw(self: Any, name: str, image: Any, *args: Any, **options: Any) -> None:
        original(self, name, np.ascontiguousarray(image), *args, **options)

    SegLocalVisualizer.add_datasample = draw
    try:
        yield
    finally:
        SegLocalVisualizer.add_datasample = original


def list_tools() -> Dict[str, Path]:
    """The paths of mmseg's tools by name, such as ``analysis_tools/get_flops``.

    Raises:
        FileNotFoundError: If mmseg was installed without them.
    """
    spec = importlib.util.find_spec('mmseg')
    folder = Path(str(spec.origin if spec else '')).parent / '.mim' / 'tools'
    files = sorted(folder.rglob('*.py'))
    if not files:
        raise FileNotFoundError(
            f'{str(folder)!r}: expected the tools of mmsegmentation, found none. Install it from '
            'its wheel: pip install --force-reinstall --no-deps mmsegmentation'
        )
    return {file.relative_to(folder).with_suffix('').as_posix(): file for file in files}


def find_tool(name: str) -> Path:
    """The path of a tool.

    Args:
        name: As in the list, with or without ``.py``, and with or without its folder. Of several
            tools with one name, the first in the list is meant.

    Raises:
        ValueError: If mmseg has no such tool.
    """
    tools, wanted = list_tools(), name.removesuffix('.py')
    for each, path in tools.items():
        if wanted in (each, each.rpartition('/')[2]):
            return path
    raise ValueError(f'{name!r}: expected one of the tools that `mmseg-ssprompt mmseg` lists')
