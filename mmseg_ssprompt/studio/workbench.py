"""What the page asks for and gets: values of any kind in, HTML out. It needs no gradio."""

import functools
import os
import sys
import threading
import time
import traceback
from collections import OrderedDict
from html import escape
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from ..miniature.shapes_world import get_world, render_scene, scene_seed
from .encoding import encode_labels
from .look import Look, StudioError, check_number
from .opened import MAX_BYTES, PictureStore, embed_picture
from .session import StudioSession
from .studio_model import HANDCRAFTED, OWN, StudioModel
from .views import (
    say_point,
    show_comparison,
    show_error,
    show_point,
    show_prompts,
    show_stage,
)

__all__ = ['CLOSER', 'Asked', 'Shown', 'Workbench']

#: What can be looked at closer.
CLOSER = ('prompts', 'point', 'compare')
#: Tabs that are remembered, and drawn scenes that are offered.
_TABS, _EXAMPLES = 64, 4


class Asked(NamedTuple):
    """What the controls of the page say; anything may come.

    Attributes:
        spatial, semantic: Trust, from 0 to 1.
        spatial_as_trained, semantic_as_trained: Whether that which was learned counts instead.
        names: Class names, one a line.
        view: What masks are made into.
        closer: What is looked at closer, one of :data:`CLOSER`.
        prompt: The number of a mask; None for the one that is surest of its class.
        second: What is compared with.
    """

    spatial: Any = None
    spatial_as_trained: Any = True
    semantic: Any = None
    semantic_as_trained: Any = True
    names: Any = None
    view: Any = 'semantic'
    closer: Any = 'prompts'
    prompt: Any = 0
    second: Any = HANDCRAFTED


class Shown(NamedTuple):
    """What the page shows; None leaves a part as it is.

    Attributes:
        stage: The photograph with what was found.
        closer: What is looked at closer.
        status: How long it took, or what is wrong.
        prompt: The number of the mask that is looked at; None if nothing is shown.
    """

    stage: Optional[str]
    closer: Optional[str]
    status: str
    prompt: Optional[int] = None


class Workbench:
    """All tabs of the page.

    One picture is worked at at a time: a second one would be slower, as all cores are busy.

    Args:
        model: The model.
        uploads: The folder that the page's uploads lie in: no other file is opened.
        max_bytes: As for :class:`PictureStore`.
    """

    def __init__(self, model: StudioModel, uploads: Path, max_bytes: int = 500_000_000) -> None:
        self.model, self._uploads = model, uploads
        self.store = PictureStore(max_bytes)
        self._tabs: OrderedDict[str, StudioSession] = OrderedDict()
        self._lock = threading.RLock()
        self.examples = [_draw_example(index) for index in range(_EXAMPLES)]

    @property
    def tabs(self) -> List[str]:
        """The tabs that are remembered."""
        return list(self._tabs)

    # ---- tabs

    def _tab(self, tab: str) -> StudioSession:
        session = self._tabs.get(tab)
        if session is None:
            session = self._tabs[tab] = StudioSession(self.model, self.store)
            while len(self._tabs) > _TABS:
                self.close(next(iter(self._tabs)))
        self._tabs.move_to_end(tab)
        return session

    def close(self, tab: str) -> None:
        """Forget a tab, and its picture if no other tab has it."""
        with self._lock:
            session = self._tabs.pop(tab, None)
            key = None if session is None else session.key
            if key is not None and all(each.key != key for each in self._tabs.values()):
                self.store.drop(key)

    # ---- what the page asks for

    def show(self, tab: str, asked: Asked) -> Shown:
        """What the controls ask for, of the picture that is open."""
        return self._answer(tab, asked, lambda session: None)

    def open_upload(self, tab: str, path: Any, name: Any, asked: Asked) -> Shown:
        """Open what was uploaded, and delete the file.

        Args:
            tab: Which one.
            path: Where the upload was said to lie; others than uploads are refused.
            name: What the file was called.
            asked: The controls.
        """

        def work(session: StudioSession) -> None:
            file = self._find_upload(path)
            try:
                session.open(file, _title(name))
            finally:
                file.unlink(missing_ok=True)

        return self._answer(tab, asked._replace(prompt=None), work)

    def open_example(self, tab: str, number: Any, asked: Asked) -> Shown:
        """Open a drawn scene."""

        def work(session: StudioSession) -> None:
            index = check_number(number, _EXAMPLES, 'number of a drawn scene')
            session.show(
                embed_picture(
                    self.examples[index][..., ::-1].copy(),
                    *(f'scene {index}', f'drawn scene {index + 1}', self.model.predictor),
                )
            )

        return self._answer(tab, asked._replace(prompt=None), work)

    def point(self, tab: str, x: Any, y: Any, asked: Asked) -> Shown:
        """Look at a point of the picture, in fractions of it."""
        return self._answer(tab, asked, lambda session: session.set_point(x, y))

    def download(self, tab: str, asked: Asked) -> Tuple[Optional[str], str, str]:
        """The label map at the size of the picture: a data URI, a file name, and a status."""
        try:
            with self._lock:
                start = time.perf_counter()
                session = self._tab(tab)
                picture = session.picture
                look = _look(asked, self.model)
                view = session.label_map(look, asked.view, size=picture.size)
                height, width = picture.size
                status = _say(
                    f'Label map of {width} x {height} pixels', time.perf_counter() - start
                )
                return encode_labels(view.labels), f'{Path(picture.name).stem}_labels.png', status
        except Exception as error:  # of whatever kind: the page goes on
            return None, '', show_error(_explain(error))

    def refuse(self, name: Any) -> Shown:
        """Say that a file was not accepted; all else stays."""
        return Shown(
            *(None, None),
            show_error(
                f'{_title(name)} was not taken: pictures may have at most '
                f'{MAX_BYTES / 1e6:.0f} megabytes.'
            ),
        )

    # ---- parts

    def _answer(self, tab: str, asked: Asked, work: Callable[[StudioSession], None]) -> Shown:
        try:
            with self._lock:
                start = time.perf_counter()
                session = self._tab(tab)
                work(session)
                opened = time.perf_counter()
                shown = self._show(session, asked)
                picture = session.picture
                height, width = picture.size
                status = _say(
                    f'{picture.name}, {width} x {height} pixels',
                    *(time.perf_counter() - opened, opened - start),
                )
                return shown._replace(status=status + shown.status)
        except Exception as error:  # of whatever kind: the page goes on
            return Shown(None, None, show_error(_explain(error)))

    def _show(self, session: StudioSession, asked: Asked) -> Shown:
        """All that is looked at; the status says what is at the point."""
        look = _look(asked, self.model)
        picture, naming = session.picture, self.model.naming(look)
        view = session.label_map(look, asked.view)
        prompt = session.best_mask(look) if asked.prompt is None else asked.prompt
        mask, each = session.mask(prompt, look)
        status = ''
        if asked.closer == 'prompts':
            small = session.small_masks(look)
            closer = show_prompts(picture, small, session.masks(look), naming, each.number, mask)
        elif asked.closer == 'point' and session.point is None:
            closer = '<p class="st-hint">Click a point of the picture above.</p>'
        elif asked.closer == 'point' and session.point is not None:
            found = session.at_point(session.point[0], session.point[1], look)
            closer = show_point(picture, found, naming, self.model.head.segmenter.kind.upper())
            status = f'<p class="st-status">{escape(say_point(found, naming))}</p>'
        elif asked.closer == 'compare':
            closer = show_comparison(picture, session.compare(look, asked.second))
        else:
            raise StudioError(f'There is nothing called {str(asked.closer)[:40]!r} to look at.')
        stage = show_stage(picture, view, session.point if asked.closer == 'point' else None)
        return Shown(stage, closer, status, each.number)

    def _find_upload(self, path: Any) -> Path:
        """The file of an upload.

        Raises:
            StudioError: If it is no upload: no path that a browser names is opened.
        """
        folder = os.path.realpath(self._uploads)
        real = os.path.realpath(path) if isinstance(path, str) and '\0' not in path else ''
        # The server may still be moving it there.
        for _ in range(20):
            if os.path.isfile(real) or not real.startswith(folder + os.sep):
                break
            time.sleep(0.05)
        if not real.startswith(folder + os.sep) or not os.path.isfile(real):
            raise StudioError('This is no picture that was uploaded here: choose a file.')
        return Path(real)


def _look(asked: Asked, model: StudioModel) -> Look:
    own = model.sets[OWN]
    fixed = [
        as_trained is True or own.trust(kind) is None
        for kind, as_trained in (
            ('spatial', asked.spatial_as_trained),
            ('semantic', asked.semantic_as_trained),
        )
    ]
    look = Look.checked(
        None if fixed[0] else asked.spatial, None if fixed[1] else asked.semantic, asked.names
    )
    is_trained = look.names == tuple(own.head.class_names) or not model.can_rename
    return look._replace(names=None) if is_trained else look


def _title(name: Any) -> str:
    """The name of a file as people see it, without its folders."""
    text = name if isinstance(name, str) else ''
    text = ''.join(c for c in text.replace('\\', '/').split('/')[-1] if c.isprintable())
    return text[:80] or 'the picture'


def _explain(error: Exception) -> str:
    if isinstance(error, StudioError):
        return str(error)
    if isinstance(error, MemoryError) or 'memory' in str(error):
        return 'The memory of this machine does not suffice for this picture: choose a smaller one.'
    traceback.print_exception(error, file=sys.stderr)
    return f'This did not work ({type(error).__name__}); the terminal of the studio says more.'


def _say(text: str, seconds: float, opened: float = 0.0) -> str:
    first = f' · embedded in {opened:.2f} s' if opened > 0.001 else ''
    return f'<p class="st-status">{escape(text)}{first} · drawn in <b>{seconds:.2f} s</b></p>'


@functools.cache
def _draw_example(index: int) -> Any:
    """A scene of the test set of the embedded data, (H, W, 3) uint8, red first."""
    return render_scene(get_world('downstream'), scene_seed('test', index)).image
