"""Learn from a folder of photographs, and write a report: see ``mmseg_ssprompt.fit``.

mmseg-ssprompt fit --images photos --labels labels --classes "sky,road,car" --out runs/first
"""

import argparse
import inspect
import sys
from typing import Optional

from ..fitting.fit import fit

#: The status of a command that was interrupted, as shells have it.
_INTERRUPTED = 130


def run(args: argparse.Namespace) -> Optional[int]:
    """Fit; what is wrong is said in one message, without a traceback."""
    try:
        fit(**{name: getattr(args, name) for name in inspect.signature(fit).parameters})
    except (ValueError, OSError) as error:  # those of the package are ValueErrors
        print(f'mmseg-ssprompt fit: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'interrupted: the same command goes on in {args.out}', file=sys.stderr)
        return _INTERRUPTED
    return None
