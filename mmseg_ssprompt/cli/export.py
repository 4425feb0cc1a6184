"""Write a model as ONNX files with a runner: see ``mmseg_ssprompt.export.export``.

mmseg-ssprompt export runs/first --out exported
python exported/run.py picture.jpg --out labels
"""

import argparse
import inspect

from ..export import export
from ..export.exporting import Exported
from ..extras import how_to_install

__all__ = ['run']


def run(args: argparse.Namespace) -> None:
    """Export, and say what was written."""
    own = [name for name in inspect.signature(export).parameters if name != 'on_step']
    arguments = {name: getattr(args, name) for name in own}
    done = export(**arguments, on_step=lambda what: print(what, flush=True))
    _describe(done, args)


def _describe(done: Exported, args: argparse.Namespace) -> None:
    """Say what was written, and how it compares with PyTorch."""
    for name, size in done.files.items():
        print(f'{done.folder / name}: {size:,} bytes')
    if done.comparison is None:
        print(
            'not compared with PyTorch: onnxruntime is not installed: '
            f'{how_to_install("onnxruntime")}'
        )
    else:
        share, largest = done.comparison.equal_pixels, done.comparison.largest_difference
        print(f'compared with PyTorch: {share:.3%} of the pixels have the same label, ', end='')
        print(f'numbers differ by {largest:.2g} at most')
    if args.format == 'onnx':
        print(f'python {done.folder / "run.py"} picture.jpg --out labels')
