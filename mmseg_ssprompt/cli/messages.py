"""How commands end that may go wrong: with one message and a status, and without a traceback."""

import argparse
import errno
import functools
import sys
from typing import Callable, Optional

__all__ = ['in_one_message']

Run = Callable[[argparse.Namespace], Optional[int]]

#: The status of a command that was interrupted, as shells have it.
_INTERRUPTED = 130
#: A disk without room, or a quota that is used up.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def in_one_message(goes_on: bool = False) -> Callable[[Run], Run]:
    """Let the ``run(args)`` of a command say what is wrong in one message on stderr.

    ``ValueError``, which those of the package are, and ``OSError`` end with status 1, and Ctrl-C
    with status 130. Other errors are mistakes of the program, and keep their traceback.

    Args:
        goes_on: Whether the same command goes on in its ``--out`` after an interruption, which is
            said then. Defaults to False.
    """

    def decorate(run: Run) -> Run:
        @functools.wraps(run)
        def guarded(args: argparse.Namespace) -> Optional[int]:
            try:
                return run(args)
            except (ValueError, OSError) as error:
                text = _describe(error, f', which goes on in {str(args.out)!r}' if goes_on else '')
                print(f'mmseg-ssprompt {args.command}: {text}', file=sys.stderr)
                return 1
            except KeyboardInterrupt:
                where = f': the same command goes on in {args.out}' if goes_on else ''
                print(f'interrupted{where}', file=sys.stderr)
                return _INTERRUPTED

        return guarded

    return decorate


def _describe(error: Exception, goes_on: str) -> str:
    """An error in words, without the numbers of the operating system."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    text = error.strerror if error.filename is None else f'{error.strerror}: {error.filename!r}'
    if error.errno in _FULL:
        text += f'. Make room, and give the same command again{goes_on}'
    return text
