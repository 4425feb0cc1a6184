"""From a model to files of its two graphs."""

import contextlib
import logging
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..models.base import FrozenModule
from ..models.segmentors import PromptSegmentor
from .graphs import DecoderGraph, EncoderGraph, output_names
from .refusals import ExportError

__all__ = ['Graph', 'make_graphs', 'narrow_weights', 'write_graph']

#: Tensors with fewer numbers stay in float32 where weights become half: they save nothing, and
#: what turns them back would be folded away.
_FEW = 4096
#: Bytes from which on weights lie in a file beside that of the graph, which may have 2 GB.
_LARGE = 1_900_000_000
#: Of a frame whose size depends on the picture: what it is traced with, in divisors.
_TRACED = (3, 4)
_MOST = 512


class Graph(NamedTuple):
    """A graph that can be traced.

    Attributes:
        name: 'encoder' or 'decoder'.
        module: In eval mode.
        inputs: Example tensors of two pictures, by the names that inputs get.
        dynamic: Of each input, which dimensions are not fixed.
        outputs: The names of what it gives.
    """

    name: str
    module: nn.Module
    inputs: Dict[str, Tensor]
    dynamic: List[Optional[Dict[int, Any]]]
    outputs: List[str]


@torch.no_grad()
def make_graphs(model: PromptSegmentor) -> Tuple[Graph, Graph]:
    """The encoder and the decoder of a model."""
    frame, divisor = model.backbone.frame, model.backbone.divisor
    is_fixed = frame is not None
    height, width = frame or tuple(divisor * number for number in _TRACED)
    batch, rows, columns = (
        torch.export.Dim(name, min=1, max=most)
        for name, most in (('batch', 64), ('rows', _MOST), ('columns', _MOST))
    )
    pixels = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    size = torch.tensor([height - 1, width - 1])
    sides = {0: batch} if is_fixed else {0: batch, 1: divisor * rows, 2: divisor * columns}
    encoder = EncoderGraph(model).eval()
    seen = encoder.encode(pixels[:1], size)  # of one, as a large encoder takes seconds
    names = list(seen)
    features = {name: torch.cat([value, value]) for name, value in seen.items()}
    parts: List[Optional[Dict[int, Any]]] = []
    for value in features.values():
        own: Dict[int, Any] = {0: batch}
        if not is_fixed:
            own[2] = rows * (value.shape[2] // _TRACED[0])
            own[3] = columns * (value.shape[3] // _TRACED[1])
        parts.append(own)
    embedding = features['embedding'].shape
    strides = height // embedding[2], width // embedding[3]
    decoder = DecoderGraph(model, names, strides).eval()
    return (
        Graph('encoder', encoder, dict(pixels=pixels, size=size), [sides, None], names),
        Graph(
            *('decoder', decoder),
            dict(features, size=size, output_size=torch.tensor([height + 5, width + 9])),
            [*parts, None, None],
            output_names(model.outputs),
        ),
    )


class _Widened(nn.Module):
    """Weights that are stored in half, for what is computed in float32."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.float()


def narrow_weights(model: nn.Module) -> None:
    """Store the frozen weights of a model in half; what is computed stays float32. In place."""
    for part in model.modules():
        if not isinstance(part, FrozenModule):
            continue
        for module in list(part.modules()):
            for name, weight in list(module.named_parameters(recurse=False)):
                if weight.dtype == torch.float32 and weight.numel() >= _FEW:
                    half = nn.Parameter(weight.detach().half(), requires_grad=False)
                    setattr(module, name, half)
                    parametrize.register_parametrization(module, name, _Widened(), unsafe=True)


@torch.no_grad()
def write_graph(graph: Graph, folder: Path, kind: str, opset: int) -> None:
    """Trace a graph, and write it.

    Args:
        graph: Of :func:`make_graphs`.
        folder: It gets NAME.onnx, of more than 1.9 GB with NAME.onnx.data beside it, which has the
            weights; or NAME.pt2.
        kind: ``'onnx'`` or ``'torch'``.
        opset: Version of ONNX's operators.

    Raises:
        ExportError: If torch has no form of an operator.
    """
    try:
        with _quiet():
            _write(graph, folder, kind, opset)
    except OSError:
        raise
    except Exception as error:  # exporters raise almost any type
        reason = str(error).strip().partition('\n')[0]
        raise ExportError(
            f'the {graph.name} cannot be exported to {kind} by torch {torch.__version__} '
            f'({type(error).__name__}: {reason}). Nothing was written. Another torch may do, or '
            f'--format {"torch" if kind == "onnx" else "onnx"}'
        ) from error


def _write(graph: Graph, folder: Path, kind: str, opset: int) -> None:
    values = tuple(graph.inputs.values())
    dynamic: Any = tuple(graph.dynamic)
    if isinstance(graph.module, DecoderGraph):  # all its inputs are one argument
        dynamic = (dynamic,)
    program = torch.export.export(graph.module, values, dynamic_shapes=dynamic, strict=False)
    if kind == 'torch':
        file = folder / f'{graph.name}.pt2'
        torch.export.save(program, file)
        return
    file = folder / f'{graph.name}.onnx'
    exported = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=opset,
        verbose=False,
        input_names=list(graph.inputs),
        output_names=graph.outputs,
    )
    assert exported is not None
    weights = program.state_dict.values()
    size = sum(each.numel() * each.element_size() for each in weights)
    exported.save(str(file), external_data=size > _LARGE)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to oneself what exporters say to those who develop them."""
    loggers = [logging.getLogger(name) for name in ('onnxscript', 'torch.onnx', 'torch.export')]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
