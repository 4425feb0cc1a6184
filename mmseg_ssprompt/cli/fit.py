"""Learn from a folder of photographs, and write a report: see ``mmseg_ssprompt.fit``.

mmseg-ssprompt fit --images photos --labels labels --classes "sky,road,car" --out runs/first
"""

import argparse
import inspect

from ..fitting.fit import fit

__all__ = ['run']


def run(args: argparse.Namespace) -> None:
    """Fit."""
    fit(**{name: getattr(args, name) for name in inspect.signature(fit).parameters})
