"""Learn from a folder of photographs, and write a report: see ``mmseg_ssprompt.fit``.

mmseg-ssprompt fit --images photos --labels labels --classes "sky,road,car" --out runs/first
"""

import argparse
import errno
import inspect
import sys
from typing import Optional

from ..fitting.fit import fit

#: The status of a command that was interrupted, as shells have it.
_INTERRUPTED = 130
#: A disk without room, or a quota that is used up.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def _describe(error: Exception, out: str) -> str:
    """An error in words, without the numbers of the operating system."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    text = error.strerror if error.filename is None else f'{error.strerror}: {error.filename!r}'
    if error.errno in _FULL:
        text += f'. Make room, and give the same command again, which goes on in {out!r}'
    return text


def run(args: argparse.Namespace) -> Optional[int]:
    """Fit; what is wrong is said in one message, without a traceback."""
    try:
        fit(**{name: getattr(args, name) for name in inspect.signature(fit).parameters})
    except (ValueError, OSError) as error:  # those of the package are ValueErrors
        print(f'mmseg-ssprompt fit: {_describe(error, args.out)}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'interrupted: the same command goes on in {args.out}', file=sys.stderr)
        return _INTERRUPTED
    return None
