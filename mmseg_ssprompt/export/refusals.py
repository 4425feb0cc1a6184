"""What of a config cannot be exported, said by its options."""

from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmseg.datasets.transforms import Resize
from mmseg.models import SegDataPreProcessor

from ..datasets.label_maps import ResizeWithLabels
from ..datasets.seem_resize import SEEMResize
from ..extras import import_extra
from ..models.heads import SSPromptHead
from ..prediction.predictor import Predictor, TrainedModel

__all__ = [
    *('ExportError', 'check_config', 'check_model', 'check_opset', 'check_packages'),
    'find_resize_rule',
]

#: Transforms that hand pictures on as they are.
_PACKERS = ('PackSegInputs', 'PackSegmentInputs')
_RESIZERS = (Resize, ResizeWithLabels, SEEMResize)
#: Components that look at pictures beside the base model.
_WITH_COMPANION = {
    'CLIPRegionClassifier': "dict(type='TokenClassifier')",
    'EnsembleClassifier': "dict(type='TokenClassifier')",
    'SAMCLIPImageEncoder': "dict(type='SAMImageEncoder', ...)",
}
_FIRST_OPSET = 18


class ExportError(ValueError):
    """A model that cannot be exported, or whose export does not give what PyTorch gives."""


def check_packages(kind: str) -> None:
    """Refuse to begin without what an export needs.

    Args:
        kind: ``'onnx'`` or ``'torch'``.

    Raises:
        MissingExtraError: With what to install.
        ExportError: If torch is too old.
    """
    if not hasattr(torch.compiler, 'is_exporting'):
        raise ExportError(
            f'export needs torch 2.7 or newer, found {torch.__version__}. Export with another '
            'environment: models and prompts are the same there'
        )
    for name in ('onnx', 'onnxscript') if kind == 'onnx' else ():
        import_extra(name, 'export to ONNX')


def check_opset(opset: int) -> None:
    """Refuse versions of ONNX's operators that the graphs cannot be written in.

    Raises:
        ExportError: With those that there are.
    """
    import onnx

    last = onnx.defs.onnx_opset_version()
    if not _FIRST_OPSET <= opset <= last:
        raise ExportError(
            f'--opset: expected a number from {_FIRST_OPSET} to {last}, which is the newest of '
            f'onnx {onnx.__version__}, found {opset}'
        )


def check_config(trained: TrainedModel) -> None:
    """Refuse what cannot be exported, before a model is built.

    Args:
        trained: Of ``read_model``.

    Raises:
        ExportError: With each option, and what to do.
    """
    _raise(_problems_of_config(trained.cfg), trained)


def _problems_of_config(cfg: Config) -> Iterator[str]:
    model = cfg.model
    if (model.get('test_cfg') or {}).get('mode') == 'slide':
        yield (
            "model.test_cfg.mode='slide': windows are no part of the graphs. Set mode='whole'; "
            'run.py cuts large pictures into tiles itself'
        )
    for where, kind in _each_type(model, 'model'):
        if kind in _WITH_COMPANION:
            instead = _WITH_COMPANION[kind]
            yield f'{where}.type={kind!r}: CLIP beside SAM is not exported. Take {instead}'
    for part in ('backbone', 'encoder'):
        for option, off in (('dtype', None), ('compile', False)):
            value = (model.get(part) or {}).get(option, off)
            if value != off:
                yield f'model.{part}.{option}={value!r}: {_WHY[option]}'


def _each_type(config: Any, key: str) -> Iterator[Tuple[str, str]]:
    """The dotted names of all components in a config, and their types."""
    if isinstance(config, Mapping):
        if isinstance(config.get('type'), str):
            yield key, config['type'].rpartition('.')[2]
        for name, value in config.items():
            yield from _each_type(value, f'{key}.{name}')


_WHY = dict(
    dtype='the graphs are computed in float32. Leave it out; --precision float16 halves the files',
    compile='a compiled encoder cannot be traced. Leave it out',
)


def check_model(predictor: Predictor, trained: TrainedModel) -> None:
    """Refuse parts that the graphs have no form of.

    Raises:
        ExportError: With each option, and what to do.
    """
    _raise(_problems_of_model(predictor, trained.cfg), trained)
    find_resize_rule(predictor, trained)


def _problems_of_model(predictor: Predictor, cfg: Config) -> Iterator[str]:
    model, loader = predictor.model, predictor.loader
    yield from _problems_of_config(cfg)  # the image encoder of embedded samples is known now
    head = type(model.decode_head)
    if head is not SSPromptHead:
        yield (
            f'model.decode_head.type={head.__name__!r}: expected SSPromptHead, whose masks and '
            'class rows the decoder holds. Export heads of mmseg with its own tools (mmdeploy)'
        )
    preprocessor = model.data_preprocessor
    kind = type(preprocessor)
    if kind is not SegDataPreProcessor or not preprocessor._enable_normalize:
        yield (
            f'model.data_preprocessor: expected SegDataPreProcessor with mean and std, found '
            f'{kind.__name__}. Set them; the graph normalises pictures'
        )
    elif not preprocessor.test_cfg:
        yield (
            'model.data_preprocessor.test_cfg: expected size or size_divisor, to which pictures '
            'are padded in tests, found none. Set it'
        )
    colours = getattr(loader, 'color_type', None), getattr(loader, 'imdecode_backend', None)
    if not isinstance(loader, LoadImageFromFile) or colours != ('color', 'cv2'):
        yield (
            f'{type(loader).__name__} in the pipeline of tests: expected LoadImageFromFile with '
            f"color_type='color' and imdecode_backend='cv2', its defaults, found {colours}. run.py "
            'reads pictures as these do'
        )


def find_resize_rule(predictor: Predictor, trained: TrainedModel) -> Dict[str, Any]:
    """How pictures come to their size in the frame, for ``merging.resized_size``.

    Raises:
        ExportError: If the pipeline of tests does something else to them.
    """
    problems: List[str] = []
    rule: Optional[Dict[str, Any]] = None
    for step in predictor.steps.transforms:
        name = type(step).__name__
        if name in _PACKERS:
            continue
        if rule is not None or type(step) not in _RESIZERS:
            problems.append(
                f'{name} in the pipeline of tests: expected one Resize or SEEMResize and '
                f'{" or ".join(_PACKERS)}, which is what run.py does to pictures. Leave it out'
            )
            continue
        if step.backend != 'pillow' or step.interpolation != 'bilinear':
            problems.append(
                f"{name} in the pipeline of tests: expected backend='pillow' and interpolation="
                f"'bilinear', found {step.backend!r} and {step.interpolation!r}. Set them, and "
                'test again: pictures differ a little, by which predictions may change'
            )
        rule = _rule_of(step)
        if rule is None:
            problems.append(
                f'{name} in the pipeline of tests: expected scale=(width, height), found '
                f'scale_factor={step.scale_factor}. Set scale'
            )
    _raise(problems, trained)
    return rule or dict(kind='none')


def _rule_of(step: Resize) -> Optional[Dict[str, Any]]:
    if isinstance(step, SEEMResize):
        return dict(kind='shortest', min_size=step.min_size, max_size=step.max_size)
    if step.scale is None:
        return None
    return dict(kind='within' if step.keep_ratio else 'exact', scale=list(step.scale))


def _raise(problems: Any, trained: TrainedModel) -> None:
    found = list(dict.fromkeys(problems))
    if found:
        listed = found[0] if len(found) == 1 else ''.join(f'\n  {each}' for each in found)
        raise ExportError(f'config {str(trained.config)!r} cannot be exported: {listed}')
