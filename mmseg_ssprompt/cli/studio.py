"""Look at what prompts do, on a page in the browser.

    mmseg-ssprompt studio
    mmseg-ssprompt studio runs/first
    mmseg-ssprompt studio CONFIG --prompts FILE --compare OTHER_FILE

The page is served to this machine alone, until it is interrupted.
"""

import argparse
import contextlib
import importlib.util
import signal
import threading

from ..config_files import find_config
from ..extras import lacks

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


def run(args: argparse.Namespace) -> None:
    """Serve the page until it is interrupted."""
    if importlib.util.find_spec('gradio') is None:
        raise lacks('gradio', 'the page of the studio')
    # A signal to end is an interruption too, so that nothing is left behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve(args)
    finally:
        signal.signal(signal.SIGTERM, before)


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
    trained = read_model(model, prompts, args.weights, args.clip_weights)
    studio = StudioModel(trained, args.device, args.compare)
    with running(studio, port, note) as address:
        print(f'{address}  (Ctrl+C ends it)', flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
        print()  # behind the ^C of the terminal
