"""Look at what prompts do, on a page in the browser.

    mmseg-ssprompt studio
    mmseg-ssprompt studio runs/first
    mmseg-ssprompt studio CONFIG --prompts FILE --compare OTHER_FILE

The page is served to this machine alone, until it is interrupted.
"""

import argparse
import importlib.util
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Optional

from ..config_files import find_config

__all__ = ['DEMO_CONFIG', 'DEMO_NOTE', 'DEMO_PROMPTS', 'run']

#: What is shown where no model is named: the prompts that ``mmseg-ssprompt demo`` learns.
DEMO_CONFIG, DEMO_PROMPTS = (
    'ssprompt_sam-tiny_shapes',
    'mmseg_ssprompt://prompts-tiny_shapes.safetensors',
)
DEMO_NOTE = (
    'The model that "mmseg-ssprompt demo" trains. It has seen nothing but drawn shapes, so '
    'photographs are beyond it: try the drawn scenes, or start the studio with a model of yours.'
)
_MISSING = 'the page needs gradio, which is not installed: pip install "mmseg_ssprompt[studio]"'


def run(args: argparse.Namespace) -> Optional[int]:
    """Serve the page until it is interrupted; what is wrong is said in one line."""
    if importlib.util.find_spec('gradio') is None:
        print(f'mmseg-ssprompt studio: {_MISSING}', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _interrupt)  # so that nothing is left behind then, either
    try:
        _serve(args)
    except (ValueError, OSError) as error:  # those of the package are ValueErrors
        print(f'mmseg-ssprompt studio: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()  # behind the ^C of the terminal
    return None


def _serve(args: argparse.Namespace) -> None:
    from ..prediction.predictor import read_model
    from ..studio.server import find_port, running
    from ..studio.studio_model import StudioModel
    from ..weights.state_dicts import resolve_checkpoint_path

    port = find_port(args.port)  # before the model is built, which takes longer
    model, prompts, note = args.model, args.prompts, ''
    if model is None:
        if prompts is not None:
            raise ValueError('--prompts FILE belongs to a config: name the config too')
        model, prompts = find_config(DEMO_CONFIG), resolve_checkpoint_path(DEMO_PROMPTS)
        note = DEMO_NOTE
    other = None if args.compare is None else Path(args.compare).expanduser()
    if other is not None and not other.exists():
        raise FileNotFoundError(f'--compare {str(other)!r}: expected prompts, found no file')
    studio = StudioModel(read_model(model, prompts), args.device, other)
    with running(studio, port, note) as address:
        print(f'{address}  (Ctrl+C ends it)', flush=True)
        threading.Event().wait()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
