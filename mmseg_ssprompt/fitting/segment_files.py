"""Objects and regions of a picture as a JSON file, which the report draws.

A list of ``label`` (the number of the class), ``is_thing`` and ``segmentation`` (run lengths as in
COCO's files); later ones lie on top of earlier ones.
"""

import json
from pathlib import Path
from typing import List, Sequence

from ..datasets.coco_masks import draw_mask
from ..evaluation.run_lengths import pack_mask
from ..files import write_json
from ..segment_drawing import DrawnSegment

__all__ = ['read_segments', 'write_segments']


def write_segments(segments: Sequence[DrawnSegment], file: Path) -> None:
    """Write the segments of a picture; the folder of the file is made."""
    entries = [
        dict(
            label=int(each.label),
            is_thing=bool(each.is_thing),
            segmentation=pack_mask(each.mask),
        )
        for each in segments
    ]
    write_json(entries, file)


def read_segments(file: Path) -> List[DrawnSegment]:
    """Read the segments of a picture, with masks (H, W) bool."""
    return [
        DrawnSegment(
            draw_mask(entry['segmentation'], tuple(entry['segmentation']['size'])),
            entry['label'],
            entry['is_thing'],
        )
        for entry in json.loads(file.read_bytes())
    ]
