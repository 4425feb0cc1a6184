"""Write a folder of learned prompts for a model hub: see ``mmseg_ssprompt.publish``.

mmseg-ssprompt publish runs/first --out published --licence cc-by-4.0
mmseg-ssprompt publish CONFIG --prompts FILE --out published
"""

import argparse
import inspect
from typing import Iterator

from ..publishing import Publication, publish

__all__ = ['run']


def run(args: argparse.Namespace) -> None:
    """Publish, and say what was written and what to do next."""
    for line in _describe(publish(**{n: getattr(args, n) for n in _ARGUMENTS}), args):
        print(line)


_ARGUMENTS = tuple(inspect.signature(publish).parameters)


def _describe(made: Publication, args: argparse.Namespace) -> Iterator[str]:
    files = [made.prompts, made.config, made.card, *([made.preview] if made.preview else [])]
    for file in files:
        yield f'{args.out / file.name}: {file.stat().st_size:,} bytes'
    yield 'Read README.md before you give it away: it says what is known, and you may know more.'
    if args.licence is None:
        yield 'There is no licence in it: --licence ID adds one, such as cc-by-4.0.'
    target = args.repository or 'USER/NAME'
    yield f'To a model hub: hf upload {target} {args.out} .'
