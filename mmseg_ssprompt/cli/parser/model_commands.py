"""The commands that make a model, and those that use it."""

import argparse
from typing import Optional

from .options import (
    Commands,
    add_command,
    add_device,
    at_least_one,
    from_zero,
    output_folder,
)

__all__ = ['BASES', 'COMMANDS', 'FORMATS', 'METHODS', 'PRECISIONS', 'TASKS']

#: The tasks: ``fitting.fit_data.TASKS``.
TASKS = ('semantic', 'instance', 'panoptic')
#: The base models: ``fitting.bases.BASES``.
BASES = (
    *('sam-tiny', 'sam-vit-b', 'sam-vit-l', 'sam-vit-h'),
    *('seem-tiny', 'seem-focal-t', 'seem-focal-l', 'seem-sam-vit-b', 'seem-sam-vit-l'),
)
#: What is trained: ``fitting.bases.ARMS``.
METHODS = ('auto', 'ssprompt', 'ssprompt-projection', 'projection')
#: Kinds of exported files, and of their weights: ``export.exporting.FORMATS`` and ``PRECISIONS``.
FORMATS = ('onnx', 'torch')
PRECISIONS = ('float32', 'float16')
_ANY_MODEL = 'folder of "fit" or "publish", hf://USER/NAME, or a config with --prompts'


def _add_model(parser: argparse.ArgumentParser, model: str, nargs: Optional[str] = None) -> None:
    """Add MODEL, which ``model`` describes, and the files that it may need."""
    parser.add_argument('model', nargs=nargs, metavar='MODEL', help=model)
    parser.add_argument(
        '--prompts',
        metavar='FILE',
        help='trained prompts of a config: a file, a folder with one, or hf://USER/NAME',
    )
    parser.add_argument('--weights', metavar='FILE', help='of the base model, where it lies')
    parser.add_argument('--clip-weights', metavar='FILE', help="CLIP's, where it lies")


def _add_demo(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'demo', 'demo', 'learn prompts on the embedded data, and show what changes'),
        'No data and no downloads are needed. WORK_DIR/summary.json and WORK_DIR/comparison.png '
        'are written.',
    )
    parser.add_argument('--base', choices=['sam', 'seem'], default='sam', help='the base model')
    parser.add_argument('--seed', type=int, default=0, help='draws training set and noise')
    parser.add_argument(
        '--task',
        choices=TASKS,
        default='semantic',
        help='what is found: label maps, objects and regions, or objects',
    )
    parser.add_argument(
        '--work-dir',
        type=output_folder,
        help='default: work_dirs/demo, or work_dirs/demo_BASE_TASK',
    )


def _add_example(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'example', 'write_example', 'draw photographs and label maps to try fit with'),
        'OUT has photos, labels, new_photos and classes.txt, as fit and predict take them.',
    )
    parser.add_argument('out', type=output_folder, metavar='OUT', help='a new folder')


def _add_fit(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'fit', 'fit', 'learn from a folder of photographs, and write a report'),
        'All files are checked first; those that cannot be used are named and left out. Killed '
        'and run again, it goes on where it was. OUT/report.html says what was found.',
        goes_on=True,
    )
    data = parser.add_argument_group('photographs and labels')
    data.add_argument('--images', required=True, metavar='DIR', help='folder of photographs')
    data.add_argument(
        '--labels',
        metavar='DIR',
        help='folder of label maps, of the names of the photographs; with a panoptic --coco of '
        'its pictures',
    )
    data.add_argument(
        '--masks', metavar='DIR', help='folder of masks of one class: 0 and 255, or 0 and 1'
    )
    data.add_argument('--foreground', metavar='NAME', help='what masks show')
    data.add_argument(
        '--coco',
        metavar='FILE',
        help="objects in COCO's format; in semantic label maps the smaller lies on top",
    )
    data.add_argument(
        '--classes',
        metavar='NAMES',
        help='"sky,road,car" in the order of the ids in label maps, "7=sky,9=road", or a text '
        'file with one a line; left out, the ids are listed',
    )
    data.add_argument(
        '--ignore',
        metavar='IDS',
        help='"0,11": ids that do not count, besides 255; with --coco names of categories, and '
        '"background" for what no object covers',
    )
    data.add_argument(
        '--val',
        default=0.2,
        metavar='SHARE',
        help='of the photographs for validation, or a folder below that of --images (0.2); few '
        'are cross-validated',
    )
    data.add_argument(
        '--test', default=0.2, metavar='SHARE', help='as --val, looked at once at the end (0.2)'
    )
    data.add_argument(
        '--shots', type=at_least_one, metavar='K', help='train on K photographs of each class'
    )
    data.add_argument('--task', choices=TASKS, default=TASKS[0], help='what is found')
    model = parser.add_argument_group('model')
    model.add_argument(
        '--base', choices=BASES, default=BASES[0], help='frozen base model (sam-tiny)'
    )
    model.add_argument('--weights', metavar='FILE', help='published weights of the base model')
    model.add_argument('--clip-weights', metavar='FILE', help="CLIP's, for bases of SAM")
    model.add_argument(
        '--method',
        choices=METHODS,
        default=METHODS[0],
        help='what is trained; auto trains all, and takes the best in validation',
    )
    add_device(model)
    model.add_argument('--seed', type=from_zero, default=0, help='of all draws')
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='new folder, or one to go on with'
    )


def _add_predict(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'predict', 'predict', 'predict pictures and videos with a trained model'),
        'OUT/labels has a label map of each picture: PNG, or GeoTIFF of a GeoTIFF. What cannot be '
        'read is named, and the others go on. Stopped and run again, it goes on where it was.',
        goes_on=True,
    )
    parser.add_argument('--out', type=output_folder, required=True, help='folder for the results')
    _add_model(parser, _ANY_MODEL)
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='pictures and videos: folders, files, or patterns such as "*.jpg"',
    )
    parser.add_argument(
        '--overlay', action='store_true', help='write OUT/overlays, pictures to look at'
    )
    parser.add_argument(
        '--coco',
        action='store_true',
        help="write OUT/coco.json, objects or connected regions in COCO's format",
    )
    parser.add_argument(
        '--tile',
        type=at_least_one,
        metavar='PIXELS',
        help='side of the tiles that larger pictures are cut into; by default those more than '
        'twice as large as the photographs of training are, into tiles of their size',
    )
    parser.add_argument(
        '--overlap', type=from_zero, metavar='PIXELS', help='what tiles share (a quarter)'
    )
    parser.add_argument(
        '--every', type=at_least_one, default=1, metavar='N', help='one video frame in N (1)'
    )
    parser.add_argument(
        '--batch-size', type=at_least_one, metavar='N', help='pictures at once; what fits'
    )
    add_device(parser)
    parser.add_argument(
        '--overwrite', action='store_true', help='predict all again, into an OUT that holds files'
    )


def _add_studio(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'studio', 'studio', 'look at what prompts do, on a page in the browser'),
        'Drop a photograph, look at each mask, move the trust in learned prompts, try other class '
        'names, click a point, compare two files of prompts. The page is served to this machine '
        'alone. Needs gradio: pip install "gradio>=6.0" (the extra [studio]).',
    )
    _add_model(
        parser, f'{_ANY_MODEL}; left out, the embedded model with the prompts of "demo"', nargs='?'
    )
    parser.add_argument(
        '--compare',
        metavar='FILE',
        help='other prompts of the same base model: a file for the same config, a folder of "fit" '
        'or "publish", or hf://USER/NAME',
    )
    parser.add_argument(
        '--port',
        type=from_zero,
        metavar='N',
        help='where to listen (the first free one from 7860)',
    )
    add_device(parser)


def _add_export(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'export', 'export', 'write a model as ONNX files that run without PyTorch'),
        'OUT gets encoder.onnx, decoder.onnx with the prompts, model.json, and run.py, which needs '
        'numpy, Pillow and onnxruntime. It is compared with PyTorch before it appears.',
    )
    parser.add_argument(
        '--out', type=output_folder, required=True, metavar='FOLDER', help='new or empty folder'
    )
    _add_model(parser, _ANY_MODEL)
    parser.add_argument(
        '--format', choices=FORMATS, default=FORMATS[0], help='torch: programs of torch.export'
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help='float16: weights are stored in half, and computed with in float32',
    )
    parser.add_argument(
        '--opset', type=at_least_one, default=18, metavar='N', help="of ONNX's operators (18)"
    )


def _add_publish(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'publish', 'publish', 'write a folder of learned prompts for a model hub'),
        'It has the prompts, config.json (plain data) and README.md, a card of what is known. '
        'Paths, names of photographs and photographs stay here. The model is built once, so that '
        'nothing is published that does not load.',
    )
    parser.add_argument('--out', type=output_folder, required=True, help='new or empty folder')
    _add_model(parser, 'folder of "fit", or a config with --prompts')
    parser.add_argument(
        '--licence', '--license', metavar='ID', help='of the prompts, such as cc-by-4.0'
    )
    parser.add_argument('--name', metavar='TITLE', help='of the card; by default its classes')
    parser.add_argument(
        '--author', dest='authors', action='append', default=[], metavar='NAME',
        help='who publishes; may be said several times',
    )  # fmt: skip
    parser.add_argument(
        '--repository', metavar='USER/NAME', help='on the hub, for the commands in the card'
    )
    parser.add_argument(
        '--pictures',
        action='store_true',
        help='add preview.jpg, which shows photographs of the test or validation',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace what an earlier call has written'
    )


#: In the order of the list in the help.
COMMANDS = (
    _add_demo,
    _add_example,
    _add_fit,
    _add_predict,
    _add_studio,
    _add_export,
    _add_publish,
)
