"""Draw photographs and label maps, so that ``fit`` and ``predict`` can be tried without any.

mmseg-ssprompt example shapes
"""

import argparse
import sys
from typing import Optional

from ..miniature.example_files import write_example


def run(args: argparse.Namespace) -> Optional[int]:
    """Write the files, and say what they are for."""
    try:
        folder = write_example(args.out)
    except OSError as error:
        print(f'mmseg-ssprompt example: {error}', file=sys.stderr)
        return 1
    print(f'{folder}/photos, labels, new_photos and classes.txt. To learn from them:')
    print(
        f'  mmseg-ssprompt fit --images {folder}/photos --labels {folder}/labels '
        f'--classes {folder}/classes.txt --out runs/first'
    )
    return None
