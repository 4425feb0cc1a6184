"""A model as a folder that runs without PyTorch: what ``mmseg-ssprompt export`` does."""

import importlib.metadata
import importlib.util
import os
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Union

import torch

from ..files import check_writable, completing, sha256_of, write_json
from ..outputs import check_folder
from ..prediction.picture_stream import LARGE_PICTURE
from ..prediction.predicting import find_tiling
from ..prediction.prediction import MIN_SCORE, find_void_id
from ..prediction.predictor import Predictor, TrainedModel, read_model
from ..prediction.tiles import LARGE
from ..prompt_files.prompt_metadata import describe_prompts
from .parity import Comparison, compare_onnx, compare_torch, describe, make_reference
from .refusals import (
    ExportError,
    check_config,
    check_model,
    check_opset,
    check_packages,
    find_resize_rule,
)
from .tracing import make_graphs, narrow_weights, write_graph

__all__ = ['FORMATS', 'OPSET', 'PRECISIONS', 'Exported', 'export']

FORMATS = ('onnx', 'torch')
PRECISIONS = ('float32', 'float16')
#: The oldest in which the graphs can be written, which most runtimes have.
OPSET = 18
MODEL_FILE = 'model.json'
_RUNNER = Path(__file__).parent / 'runner'
_RUNNER_FILES = ('run.py', 'merging.py')

PathLike = Union[str, 'os.PathLike[str]']


class Exported(NamedTuple):
    """What was written.

    Attributes:
        folder: Where.
        files: Bytes by the names of the files.
        comparison: With PyTorch; None if onnxruntime is not installed.
        seconds: That tracing and writing took, without the comparison.
    """

    folder: Path
    files: Dict[str, int]
    comparison: Optional[Comparison]
    seconds: float


def export(
    model: PathLike,
    out: PathLike,
    *,
    prompts: Optional[PathLike] = None,
    weights: Optional[PathLike] = None,
    clip_weights: Optional[PathLike] = None,
    format: str = 'onnx',
    precision: str = 'float32',
    opset: int = OPSET,
    on_step: Callable[[str], None] = lambda what: None,
) -> Exported:
    """Write a model as ONNX files, or as programs of ``torch.export``, and compare it with PyTorch.

    Args:
        model: A folder that ``fit`` or ``publish`` has written, ``hf://USER/NAME``, or a config.
        out: A new or empty folder. It appears when it is complete.
        prompts: The file of trained prompts that belongs to a config. Defaults to None: the config
            has handcrafted ones.
        weights: The file of the base model. Defaults to None: where the config names it.
        clip_weights: That of CLIP, for SAM. Defaults to None: where the config names it.
        format: 'onnx' or 'torch'. Defaults to 'onnx'.
        precision: 'float32', or 'float16': frozen weights are stored in half, and what is computed
            stays float32. Defaults to 'float32'.
        opset: Version of ONNX's operators. Defaults to 18.
        on_step: Is told what is done next.

    Raises:
        MissingExtraError: If a package is missing.
        ExportError: If an option of the config cannot be exported, or the
            result differs from PyTorch's. Nothing is written then.
        FileNotFoundError, ConfigError: As ``predict``.
        OutputError: If ``out`` is read, or holds files.
        OSError: If it cannot be written.
    """
    for name, value, choices in (('format', format, FORMATS), ('precision', precision, PRECISIONS)):
        if value not in choices:
            raise ExportError(f'--{name}: expected one of {", ".join(choices)}, found {value!r}')
    check_packages(format)
    if format == 'onnx':
        check_opset(opset)
    trained = read_model(model, prompts, weights, clip_weights)
    check_config(trained)
    folder = Path(os.path.abspath(Path(out).expanduser()))
    check_folder(folder, trained.find_inputs())
    check_writable(folder.parent)
    on_step('building the model')
    predictor = Predictor(trained, 'cpu')
    check_model(predictor, trained)
    with completing(folder) as temporary:
        start = time.monotonic()
        graphs = make_graphs(predictor.model)
        taken = time.monotonic() - start
        on_step('predicting with PyTorch, to compare')
        reference = make_reference(predictor, graphs)
        content = _describe_model(predictor, trained, graphs[1].outputs)
        start = time.monotonic()
        if precision == 'float16':
            narrow_weights(predictor.model)
        for graph in graphs:
            on_step(f'tracing and writing the {graph.name}')
            write_graph(graph, temporary, format, opset)
        taken += time.monotonic() - start
        content.update(format=format, precision=precision, computed_in='float32')
        content.update(opset=opset if format == 'onnx' else None, versions=_versions())
        write_json(content, temporary / MODEL_FILE)
        comparison: Optional[Comparison] = None
        if format == 'torch':
            on_step('comparing with PyTorch')
            comparison = compare_torch(reference, temporary)
        else:
            for name in _RUNNER_FILES:
                shutil.copyfile(_RUNNER / name, temporary / name)
            if importlib.util.find_spec('onnxruntime') is not None:
                on_step('comparing with PyTorch')
                comparison = compare_onnx(reference, temporary)
        if comparison is not None:
            comparison.check(precision)
            content['compared'] = describe(comparison)
            write_json(content, temporary / MODEL_FILE)
        files = {file.name: file.stat().st_size for file in sorted(temporary.iterdir())}
    return Exported(folder, files, comparison, round(taken, 2))


def _describe_model(
    predictor: Predictor, trained: TrainedModel, outputs: List[str]
) -> Dict[str, Any]:
    """What model.json says of a model."""
    model, ids = predictor.model, predictor.label_ids
    preprocessor, backbone = model.data_preprocessor, model.backbone
    prompts = None if trained.prompts is None else sha256_of(trained.prompts)
    return dict(
        made_by='mmseg-ssprompt export',
        task=list(model.outputs),
        classes=list(predictor.classes),
        palette=predictor.palette,
        bits=8 * ids.dtype().itemsize,
        void_id=find_void_id(ids),
        first_class=ids.classes.start,
        things=list(predictor.things),
        resize=find_resize_rule(predictor, trained),
        frame=None if backbone.frame is None else list(backbone.frame),
        divisor=backbone.divisor,
        mean=preprocessor.mean.flatten().tolist(),
        std=preprocessor.std.flatten().tolist(),
        tiles=_describe_tiles(predictor),
        min_score=MIN_SCORE,
        overlap_threshold=model.test_cfg.overlap_threshold,
        outputs=outputs,
        digests=dict(model=predictor.digest, prompts=prompts),
        prompts=describe_prompts(model),
    )


def _describe_tiles(predictor: Predictor) -> Optional[Dict[str, Any]]:
    """How ``predict`` cuts large pictures; None if it sees each as a whole."""
    tiling = find_tiling(predictor)
    if tiling.tile is None:
        return None
    return dict(
        size=list(tiling.tile),
        overlap=list(tiling.overlap),
        large=LARGE,
        min_pixels=0 if predictor.training_size is not None else LARGE_PICTURE,
    )


def _versions() -> Dict[str, Optional[str]]:
    found: Dict[str, Optional[str]] = {}
    for name in ('mmseg-ssprompt', 'torch', 'onnx', 'onnxscript', 'onnxruntime'):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    found['torch'] = torch.__version__
    return found
