# ruff: noqa: E401, E402, F401, I001
"""What importing the package changes: run in a process of its own by test_import.

python tests/import_changes.py FOLDER COMPAT
"""

import functools
import http.server
import importlib.util
import json
import os
import random
import signal
import sys
import threading
import types
import warnings
from pathlib import Path

import numpy as np

# Ids tell objects apart, so all of them are kept.
folder = Path(sys.argv[1])
# The exception: where mmcv-lite lacks its operators, mmseg cannot be imported without this.
spec = importlib.util.spec_from_file_location('compat', sys.argv[2])
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
compat.allow_mmcv_without_ops()

import mmcv.cnn, mmcv.transforms, mmengine.dataset, mmengine.hooks, mmengine.runner
import mmseg.apis, mmseg.datasets, mmseg.engine, mmseg.evaluation, mmseg.models, mmseg.visualization
import PIL.Image, PIL.ImageFile, cv2, torch, torchvision
from mmengine.fileio.backends import registry_utils
from mmengine.logging import MMLogger
from mmengine.registry import Registry
from mmengine.runner import CheckpointLoader

PACKAGES = ('torch', 'torchvision', 'PIL', 'mmengine', 'mmcv', 'mmseg')
kept = []


def identify(value):
    if isinstance(value, (bool, int, float, str, bytes, type(None))):
        return repr(value)
    kept.append(value)
    return id(value)


def is_theirs(name):
    return str(name).partition('.')[0] in PACKAGES


def each_attribute():
    """All that modules and classes have, and what is in their dicts and lists."""
    for name, module in list(sys.modules.items()):
        if is_theirs(name) and isinstance(module, types.ModuleType):
            yield from attributes_of(name, vars(module))
            for value in list(vars(module).values()):
                if isinstance(value, type) and is_theirs(value.__module__):
                    yield from attributes_of(
                        f'{value.__module__}.{value.__qualname__}', vars(value)
                    )


def attributes_of(owner, attributes):
    for key, value in list(attributes.items()):
        if value is CheckpointLoader._schemes:
            pass  # compared below: to register one is to sort a new dict
        elif isinstance(value, (dict, list)) and not key.startswith('__'):
            yield f'{owner}.{key}', id(value)
            kept.append(value)
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for inner, entry in list(pairs):
                yield f'{owner}.{key}[{inner!s}]', identify(entry)
        else:
            yield f'{owner}.{key}', identify(value)


def each_entry():
    """Entries of registries and the like."""
    for value in list(kept):
        if isinstance(value, Registry):
            for name, entry in value.module_dict.items():
                yield f'registry {value.name} {value.scope} {name}', identify(entry)
    for scheme, loader in CheckpointLoader._schemes.items():
        yield f'loader {scheme}', identify(loader)
    for kind in ('backends', 'prefix_to_backends'):
        for name, backend in getattr(registry_utils, kind).items():
            yield f'{kind} {name}', identify(backend)


def each_setting():
    """Global settings that are no attributes."""
    yield 'pixels', PIL.Image.MAX_IMAGE_PIXELS
    yield 'truncated', PIL.ImageFile.LOAD_TRUNCATED_IMAGES
    yield 'filters', list(warnings.filters)
    yield 'environment', dict(os.environ)
    yield 'path', list(sys.path)
    yield 'signals', [str(signal.getsignal(number)) for number in signal.valid_signals()]
    yield 'hooks', [id(sys.excepthook), id(sys.displayhook), id(warnings.showwarning)]
    yield 'draws', [random.getstate(), np.random.get_state()[1].tolist(), torch.initial_seed()]
    yield 'torch draws', torch.get_rng_state().tolist()
    yield 'threads', [torch.get_num_threads(), torch.get_num_interop_threads(), cv2.getNumThreads()]
    yield 'gradients', torch.is_grad_enabled()
    yield 'type', torch.get_default_dtype()
    yield 'deterministic', torch.are_deterministic_algorithms_enabled()
    cudnn = torch.backends.cudnn
    yield 'cudnn', [cudnn.benchmark, cudnn.deterministic, cudnn.enabled, cudnn.allow_tf32]
    yield 'precision', torch.get_float32_matmul_precision()
    yield 'sharing', torch.multiprocessing.get_sharing_strategy()
    yield 'loggers', list(MMLogger._instance_dict)


def snapshot():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # names that are deprecated warn when they are looked at
        found = dict(each_attribute())
    return found, dict(each_entry()), dict(each_setting())


before = snapshot()
import mmseg_ssprompt

after = snapshot()
replaced = [
    [key for key, value in then.items() if now.get(key) != value]
    for then, now in zip(before, after)
]
sizes = [len(each) for each in before]
added = [key for key in after[1] if key not in before[1]]

# mmseg's own FCN, from a URL.
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS

init_default_scope('mmseg')
norm = dict(type='BN')
fcn = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor'),
    backbone=dict(
        type='ResNet',
        depth=18,
        num_stages=1,
        out_indices=(0,),
        strides=(1,),
        dilations=(1,),
        stem_channels=4,
        base_channels=4,
        norm_cfg=norm,
    ),
    decode_head=dict(
        type='FCNHead', in_channels=4, channels=4, num_convs=1, num_classes=3, norm_cfg=norm
    ),
)
source, target = MODELS.build(fcn), MODELS.build(fcn)
torch.save(dict(state_dict=source.state_dict(), meta={}), folder / 'fcn.pth')


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(
    ('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder))
)
threading.Thread(target=server.serve_forever, daemon=True).start()
differ = not torch.equal(source.decode_head.conv_seg.weight, target.decode_head.conv_seg.weight)
load_checkpoint(target, f'http://127.0.0.1:{server.server_port}/fcn.pth', map_location='cpu')
states = source.state_dict(), target.state_dict()
same = all(torch.equal(value, states[1][key]) for key, value in states[0].items())
report = dict(replaced=replaced, sizes=sizes, added=added, differ=differ, same=same)
(folder / 'report.json').write_text(json.dumps(report))
