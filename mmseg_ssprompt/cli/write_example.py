"""Draw photographs and label maps, so that ``fit`` and ``predict`` can be tried without any.

mmseg-ssprompt example shapes
"""

import argparse
import shlex

from ..miniature.example_files import write_example


def run(args: argparse.Namespace) -> None:
    """Write the files, and say what they are for."""
    folder = write_example(args.out)
    photos, labels, names = (
        shlex.quote(str(folder / name)) for name in ('photos', 'labels', 'classes.txt')
    )
    print(f'{folder}: photos, labels, new_photos, classes.txt. To learn from them:')
    print(
        f'  mmseg-ssprompt fit --images {photos} --labels {labels} --classes {names} '
        '--out runs/first'
    )
