"""The layout of the page, and which control asks the workbench for what. Needs gradio."""

from html import escape
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import gradio as gr

from .encoding import as_jpeg
from .opened import MAX_BYTES, MAX_PIXELS
from .studio_model import HANDCRAFTED, OTHER, OWN
from .workbench import CLOSER, Asked, Shown, Workbench

__all__ = ['build_page', 'page_style']

_HERE = Path(__file__).resolve().parent
_SYSTEM = ('system-ui', '-apple-system', 'Segoe UI', 'Roboto', 'Helvetica', 'sans-serif')
_MONO = ('ui-monospace', 'Menlo', 'Consolas', 'monospace')
_VIEWS = dict(semantic='Label map', panoptic='Panoptic', instances='Instances')
_CLOSER = tuple(zip(('Masks of prompts', 'A point', 'Comparison'), CLOSER))
#: All that runs the model waits in one line; of a control that moves, the last place counts.
_WORKS: Dict[str, Any] = dict(
    preprocess=False,  # the workbench checks whatever comes
    concurrency_id='model',
    concurrency_limit=1,
    show_progress='hidden',
    trigger_mode='always_last',
    api_visibility='private',
)
#: How often uploads are looked for that nothing was asked of, and how old they are, in seconds.
_LEFT_UPLOADS = (60, 300)
_OPACITY = "(v) => { document.documentElement.style.setProperty('--st-opacity', v); }"
_SAVE = """(uri, name) => {
  if (!uri) return;
  const link = document.createElement('a');
  link.href = uri;
  link.download = name;
  link.click();
}"""

#: What an event changes besides what is shown, by the names of controls.
_Changes = Dict[str, Any]
_Act = Callable[[str, Dict[str, Any], Asked], Tuple[Shown, _Changes]]


def page_style() -> Dict[str, Any]:
    """Theme and style sheet for ``launch``; fonts are those of the system."""
    theme = gr.themes.Base(
        primary_hue='indigo', neutral_hue='slate', font=[*_SYSTEM], font_mono=[*_MONO]
    )
    return dict(theme=theme, css=(_HERE / 'studio.css').read_text(encoding='utf-8'))


def build_page(bench: Workbench, note: str = '') -> gr.Blocks:
    """The page.

    Args:
        bench: What answers.
        note: A sentence about the model. Defaults to ''.
    """
    model = bench.model
    own, trained = model.sets[OWN], '\n'.join(model.head.class_names)
    page: gr.Blocks = gr.Blocks(
        title='SSPrompt studio', analytics_enabled=False, delete_cache=_LEFT_UPLOADS
    )
    with page:
        gr.HTML(_head(bench, note), apply_default_css=False, js_on_load=None)
        with gr.Row(equal_height=False):
            with gr.Column(scale=7, min_width=320):
                stage = _part('stage')
                status = _part('status')
                view = gr.Radio(
                    [(_VIEWS[each], each) for each in model.views],
                    value=model.views[0],
                    label='What is shown',
                    visible=len(model.views) > 1 or 'hidden',
                    elem_id='view',
                )
                opacity = gr.Slider(
                    *(0, 1, 0.6),
                    step=0.05,
                    label='Opacity of the colours',
                    buttons=[],
                    elem_id='opacity',
                )
                save = gr.Button('Download the label map', elem_id='save')
            with gr.Column(scale=4, min_width=300):
                drop = _part('drop', _drop(bench))
                spatial, spatial_own = _trust(own.trust('spatial'), 'spatial')
                semantic, semantic_own = _trust(own.trust('semantic'), 'semantic')
                names = gr.Textbox(
                    trained,
                    label='Class names, one a line',
                    lines=min(max(len(own.head.class_names), 4), 10),
                    max_lines=10,
                    interactive=model.can_rename,
                    elem_id='names',
                )
                with gr.Row(visible=model.can_rename):
                    apply = gr.Button('Use these names', variant='primary', elem_id='apply')
                    reset = gr.Button('Trained names', elem_id='reset')
        closer = gr.Radio(_CLOSER, value=CLOSER[0], label='Look closer', elem_id='closer')
        prompt = gr.Slider(
            *(0, model.num_masks - 1, 0), step=1, label='Mask', buttons=[], elem_id='prompt'
        )
        seconds = [('handcrafted prompts', HANDCRAFTED)]
        if OTHER in model.sets:
            seconds.insert(0, (model.sets[OTHER].name, OTHER))
        second = gr.Radio(
            seconds, value=seconds[0][1], label='Compare with', visible=False, elem_id='second'
        )
        detail = _part('detail')
        uri = gr.Textbox(visible='hidden', elem_id='uri')
        file = gr.Textbox(visible='hidden', elem_id='file')

        asked = [spatial, spatial_own, semantic, semantic_own, names, view, closer, prompt, second]
        changeable = dict(
            spatial_own=spatial_own,
            semantic_own=semantic_own,
            names=names,
            closer=closer,
            prompt=prompt,
            second=second,
        )
        outputs = [stage, detail, status, *changeable.values()]

        def update(shown: Shown, changes: _Changes) -> List[Any]:
            parts = [gr.skip() if each is None else each for each in shown[:3]]
            return parts + [changes.get(name, gr.skip()) for name in changeable]

        def on(event: Any, act: _Act) -> None:
            def run(request: gr.Request, *values: Any) -> List[Any]:
                return update(*act(_tab(request), {}, Asked(*values)))

            event(run, asked, outputs, **_WORKS)

        def on_sent(event: Any, act: _Act) -> None:
            """The same of an event that sends data of its own."""

            def run(request: gr.Request, event: gr.EventData, *values: Any) -> List[Any]:
                sent = getattr(event, '_data', None)
                sent = sent if isinstance(sent, dict) else {}
                return update(*act(_tab(request), sent, Asked(*values)))

            event(run, asked, outputs, **_WORKS)

        def show(tab: str, sent: Dict[str, Any], asked: Asked) -> Tuple[Shown, _Changes]:
            return bench.show(tab, asked), {}

        def move_spatial(tab: str, sent: Any, asked: Asked) -> Tuple[Shown, _Changes]:
            return bench.show(tab, asked._replace(spatial_as_trained=False)), dict(
                spatial_own=False
            )

        def move_semantic(tab: str, sent: Any, asked: Asked) -> Tuple[Shown, _Changes]:
            shown = bench.show(tab, asked._replace(semantic_as_trained=False))
            return shown, dict(semantic_own=False)

        def rename(tab: str, sent: Any, asked: Asked) -> Tuple[Shown, _Changes]:
            return bench.show(tab, asked._replace(names=None)), dict(names=trained)

        def look_closer(tab: str, sent: Any, asked: Asked) -> Tuple[Shown, _Changes]:
            return bench.show(tab, asked), _visible(asked.closer)

        def point(tab: str, sent: Dict[str, Any], asked: Asked) -> Tuple[Shown, _Changes]:
            shown = bench.point(tab, sent.get('x'), sent.get('y'), asked._replace(closer='point'))
            return shown, dict(_visible('point'), closer='point')

        def choose(tab: str, sent: Dict[str, Any], asked: Asked) -> Tuple[Shown, _Changes]:
            number = sent.get('number')
            return bench.show(tab, asked._replace(prompt=number)), dict(prompt=number)

        def example(tab: str, sent: Dict[str, Any], asked: Asked) -> Tuple[Shown, _Changes]:
            return _opened(bench.open_example(tab, sent.get('number', 0), asked))

        def upload(tab: str, sent: Dict[str, Any], asked: Asked) -> Tuple[Shown, _Changes]:
            return _opened(bench.open_upload(tab, sent.get('upload'), sent.get('name'), asked))

        def refuse(tab: str, sent: Any, asked: Asked) -> Tuple[Shown, _Changes]:
            return bench.refuse(sent.get('name')), {}

        on(page.load, example)
        for event in (spatial_own.input, semantic_own.input, view.input, prompt.input):
            on(event, show)
        for event in (second.input, apply.click, names.submit):
            on(event, show)
        on(spatial.input, move_spatial)
        on(semantic.input, move_semantic)
        on(reset.click, rename)
        on(closer.input, look_closer)
        on_sent(stage.point, point)
        on_sent(detail.chosen, choose)
        on_sent(drop.example, example)
        on_sent(drop.uploaded, upload)
        on_sent(drop.refused, refuse)

        def download(request: gr.Request, *values: Any) -> Tuple[Optional[str], str, str]:
            return bench.download(_tab(request), Asked(*values))

        saved = save.click(download, asked, [uri, file, status], **_WORKS)
        saved.then(None, [uri, file], None, js=_SAVE, api_visibility='private')
        opacity.input(None, opacity, None, js=_OPACITY, api_visibility='private')

        def leave(request: gr.Request) -> None:
            bench.close(_tab(request))

        page.unload(leave)
    return page


def _part(name: str, value: str = '', **options: Any) -> Any:
    """A part of the page that is HTML of ours, and sends events by our script."""
    javascript = (_HERE / 'studio.js').read_text(encoding='utf-8')
    javascript = javascript.replace('MAX_BYTES', str(MAX_BYTES))
    options.update(elem_id=name, apply_default_css=False, js_on_load=javascript)
    return gr.HTML(value, **options)


def _opened(shown: Shown) -> Tuple[Shown, _Changes]:
    """With a new picture, its surest mask is looked at."""
    return shown, {} if shown.prompt is None else dict(prompt=shown.prompt)


def _visible(closer: Any) -> _Changes:
    """The controls that belong to what is looked at closer."""
    return dict(
        prompt=gr.update(visible=closer == 'prompts'), second=gr.update(visible=closer == 'compare')
    )


def _tab(request: gr.Request) -> str:
    return str(getattr(request, 'session_hash', None) or 'a tab without a name')


def _trust(mean: Optional[float], kind: str) -> Tuple[gr.Slider, gr.Checkbox]:
    """The controls of the trust in prompts of a kind."""
    has_trust = mean is not None
    with gr.Group():
        slider = gr.Slider(
            *(0, 1, round(mean or 0.0, 2)),
            step=0.01,
            label=f'Trust in learned {kind} prompts',
            info='0: handcrafted, 1: learned'
            if has_trust
            else 'These prompts have no trust weight.',
            interactive=has_trust,
            buttons=[],
            elem_id=kind,
        )
        as_trained = gr.Checkbox(
            True,
            label=f'as trained (each its own, {mean:.2f} on average)' if has_trust else '',
            container=True,
            visible=has_trust or 'hidden',
            elem_id=f'{kind}_own',
        )
    return slider, as_trained


def _head(bench: Workbench, note: str) -> str:
    model = bench.model
    facts = [
        f'<b>{escape(model.name)}</b>',
        f'prompts <b>{escape(model.sets[OWN].name)}</b>',
        f'{model.head.spatial_prompts.num_prompts} spatial prompts',
        f'{len(model.head.class_names)} classes',
        f'on {escape(str(model.predictor.device))}',
    ]
    text = f'<p>{escape(note)}</p>' if note else ''
    return (
        f'<header class="st-head"><h1>SSPrompt studio</h1><p>{" · ".join(facts)}</p>{text}</header>'
    )


def _drop(bench: Workbench) -> str:
    """Where photographs are dropped, and drawn scenes to begin with."""
    examples = ''.join(
        f'<button type="button" data-number="{number}" aria-label="drawn scene {number + 1}">'
        f'<img alt="" src="{as_jpeg(picture)}"></button>'
        for number, picture in enumerate(bench.examples)
    )
    return (
        '<label class="st-drop" tabindex="0"><input type="file" accept="image/*">'
        '<b>Choose a photograph</b> or drop one here'
        f'<small>at most {MAX_BYTES / 1e6:.0f} megabytes and {MAX_PIXELS / 1e6:.0f} megapixels; '
        f'it stays on this machine</small></label><div class="st-examples">{examples}</div>'
    )
