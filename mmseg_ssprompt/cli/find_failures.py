"""Find the worst images of a data set, and say whether labels or masks are wrong.

    mmseg-ssprompt failures CONFIG CHECKPOINT --out-dir DIR [--worst 8]

writes ``failures.json`` (every image, and totals), ``worst_images.png`` and ``error_types.png``
into DIR. The kinds of errors (wrong label, wrong mask, missed, and what is left of regions that
were found) are defined in ``mmseg_ssprompt/analysis/failures.py``. Everything is counted at the
images' own size, as in mmseg's evaluation; an image's mIoU is the mean over the classes that are
in its ground truth or its prediction.
"""

import argparse
from typing import Any, Dict, List, Tuple

import numpy as np

from ..analysis import ERROR_TYPES, FailureTotals, analyse_image, segment_image
from ..analysis.failures import ImageFailures
from ..analysis.figures import FailedScene, draw_error_types, draw_worst_images
from ..files import write_json
from .loading import Run, load_run, samples


def analyse(run: Run, index: int, data: Dict[str, Any]) -> Tuple[ImageFailures, FailedScene]:
    """One image: its failures, and what is drawn of it."""
    truth = data['data_samples'].gt_sem_seg.data[0]
    name = str(data['data_samples'].metainfo['img_path'])
    image = segment_image(run.model, data)
    found = analyse_image(image, truth.long(), run.head.ignore_index)
    scene = FailedScene(
        index=index,
        name=name,
        miou=found.miou,
        image=np.ascontiguousarray(data['inputs'].permute(1, 2, 0).numpy()[..., ::-1]),
        truth=truth.numpy(),
        prediction=image.prediction.cpu().numpy(),
        errors=found.errors,
    )
    return found, scene


def describe(found: ImageFailures, scene: FailedScene, names: List[str]) -> Dict[str, Any]:
    """The entry of one image."""
    wrong = {
        kind: sum(r.wrong_pixels for r in found.regions if r.kind == kind) for kind in ERROR_TYPES
    }
    labels = [*names, 'no object']
    return dict(
        index=scene.index,
        image=scene.name,
        mIoU=scene.miou,
        labelled_pixels=sum(region.pixels for region in found.regions),
        wrong_pixels=wrong,
        regions=[
            dict(
                region._asdict(),
                class_id=names[region.class_id],
                best_mask_label=labels[region.best_mask_label],
                outvoted=region.outvoted,
            )
            for region in found.regions
        ],
    )


def run(args: argparse.Namespace) -> None:
    """Look at all images, and write the report and the figures."""
    run = load_run(args)
    names = list(run.head.class_names)
    totals, images = FailureTotals(names, run.groups), []
    worst: List[FailedScene] = []
    for index, data in enumerate(samples(run)):
        found, scene = analyse(run, index, data)
        totals.add(found)
        images.append(describe(found, scene, names))
        worst = sorted([*worst, scene], key=lambda s: s.miou)[: args.worst]
    found_in_all = totals.report()
    report = dict(run.source, num_images=len(images), totals=found_in_all, images=images)
    paths = [args.out_dir / n for n in ('worst_images.png', 'error_types.png', 'failures.json')]
    write_json(report, paths[2])
    draw_worst_images(worst, len(images), names, run.dataset.metainfo['palette'], paths[0])
    draw_error_types(found_in_all, run.groups, paths[1])
    print('\n'.join(map(str, paths)))
