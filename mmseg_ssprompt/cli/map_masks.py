"""Map what each spatial prompt is used for over a data set.

    mmseg-ssprompt masks CONFIG CHECKPOINT --out-dir DIR [--split val]

writes ``masks.json`` and ``masks.png`` into DIR. Of each mask: its mean probability at each place
over all images, how many pixels it wins, and which class it gives them. The winner of a pixel is
the mask that contributes most to the class which the pixel gets
(``mmseg_ssprompt/analysis/mask_usage.py``).
"""

import argparse
from typing import Any, List

from ..analysis import MaskUsage, segment_image
from ..analysis.figures import draw_mask_usage
from ..files import write_json
from ..models.prompts import CoordinatePromptLearner
from .loading import Run, load_run, samples

MAX_SHOWN = 36


def measure(run: Run) -> MaskUsage:
    """Add up all images of the split."""
    usage = MaskUsage(run.head.class_names, run.head.segmenter.masks_per_prompt)
    for data in samples(run):
        usage.add(segment_image(run.model, data))
    return usage


def prompt_points(learner: Any) -> List[List[List[float]]]:
    """The place that each prompt asks at, as fractions of the frame.

    One default point, or the two corners of a default box; of coordinate prompts the learned one.
    A base model's own queries have none, nor have learners that do not say it.
    """
    places = getattr(learner, 'handcrafted', None)
    if isinstance(learner, CoordinatePromptLearner):
        places = learner.coordinates
    if places is None:
        return [[]] * learner.num_prompts
    points: List[List[List[float]]] = places.detach().unflatten(1, (-1, 2)).tolist()
    return points


def run(args: argparse.Namespace) -> None:
    """Look at all images, and write the report and the figure."""
    run = load_run(args)
    usage = measure(run)
    masks, points = usage.report(), prompt_points(run.head.spatial_prompts)
    for mask in masks:
        mask['points'] = points[mask['prompt']]
    report = dict(
        run.source,
        num_images=usage.num_images,
        num_prompts=run.head.spatial_prompts.num_prompts,
        masks_per_prompt=usage.masks_per_prompt,
        never_winning=sum(mask['won_share'] == 0 for mask in masks),
        masks=masks,
    )
    paths = [args.out_dir / 'masks.png', args.out_dir / 'masks.json']
    write_json(report, paths[1])
    draw_mask_usage(report, usage.mean_masks, paths[0], MAX_SHOWN)
    print('\n'.join(map(str, paths)))
