"""Predict pictures and videos with a trained model: see ``mmseg_ssprompt.predict``.

    mmseg-ssprompt predict runs/first new_photos --out predictions --overlay
    mmseg-ssprompt predict CONFIG "photos/*.jpg" --prompts FILE --out predictions

writes ``labels/``, ``overlays/`` and ``coco.json`` into the folder, and ``predictions.jsonl``: what
is complete.
"""

import argparse
import contextlib
import inspect
import sys
from typing import Iterator, Optional

from ..fitting.progress import Reporter
from ..prediction import Predictions, predict
from ..prediction.prediction_folder import COCO_FILE, LABELS, OVERLAYS

__all__ = ['run']


def run(args: argparse.Namespace) -> Optional[int]:
    """Predict, and say what was wrong; the status is 1 if a picture could not be predicted."""
    own = [name for name in inspect.signature(predict).parameters if name != 'on_progress']
    arguments = {name: getattr(args, name) for name in own}
    reporter = Reporter()
    with contextlib.ExitStack() as stack:
        is_shown = False

        def show(done: float, total: int, what: str) -> None:
            nonlocal is_shown
            if not is_shown:  # the total is known now
                stack.enter_context(reporter.step('predicting', total))
                is_shown = True
            reporter.advance_to(done, what)

        found = predict(**arguments, on_progress=show)
    for line in _describe(found, args):
        reporter.say(line)
    for text in found.errors.values():
        print(f'ERROR: {text}', file=sys.stderr)
    return 1 if found.errors else None


def _describe(found: Predictions, args: argparse.Namespace) -> Iterator[str]:
    """What was written, in lines."""
    yield from found.notes
    before = f', {found.skipped} of them written before' if found.skipped else ''
    yield f'{args.out / LABELS}: {found.skipped + found.written} label maps{before}'
    if args.overlay:
        yield f'{args.out / OVERLAYS}: overlays'
    if args.coco:
        yield f'{args.out / COCO_FILE}: {found.annotations} annotations'
    if found.errors:
        yield f'{len(found.errors)} could not be predicted, or not as a whole:'
