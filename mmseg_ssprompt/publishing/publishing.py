"""A folder for a model hub of what was learned: prompts, a config of plain data, and a card."""

import base64
import io
import json
import os
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping, Optional, Sequence, Union

import numpy as np
from PIL import Image
from torch import Tensor

from ..config_reading import ConfigError
from ..files import check_writable, completing, sha256_of, write_atomically
from ..fitting.fit_data import FitData
from ..fitting.report_pictures import draw_scenes
from ..fitting.results import read_results
from ..models.segmentors import PromptSegmentor
from ..module_metadata import get_module_metadata, set_module_metadata
from ..outputs import check_folder, check_outputs
from ..plain import to_json, to_plain
from ..prediction.predictor import Predictor, TrainedModel, read_model
from ..prompt_files.prompt_file import read_prompt_source, write_prompts
from ..prompt_files.prompt_metadata import METADATA_KEY
from ..prompt_files.published import CARD, CONFIG, META_KEY, is_published, read_published
from ..weights.prompt_places import PROMPTS
from .card import PREVIEW, CardFacts, write_card
from .figures import FitFacts
from .intervals import find_intervals
from .portable import PortableConfig, make_portable

__all__ = ['Publication', 'publish']

PathLike = Union[str, 'os.PathLike[str]']
_FILES = (PROMPTS, CONFIG, CARD, PREVIEW)
#: Photographs in the picture.
_SCENES = 3
_GAP, _QUALITY = 8, 88
_LICENCE = re.compile(r'[a-z0-9][a-z0-9.+-]*')
_REPOSITORY = re.compile(r'\w[\w.-]*/\w[\w.-]*')


@dataclass(frozen=True)
class Publication:
    """A folder that is ready for a model hub.

    Attributes:
        out: The folder.
        prompts: ``prompts.safetensors`` there.
        config: ``config.json`` there.
        card: ``README.md`` there.
        preview: ``preview.jpg`` there; None if pictures were not asked for.
    """

    out: Path
    prompts: Path
    config: Path
    card: Path
    preview: Optional[Path]

    def __fspath__(self) -> str:
        """The folder, so that ``predict`` takes this in the place of a path."""
        return str(self.out)


def publish(
    model: PathLike,
    out: PathLike,
    *,
    prompts: Optional[PathLike] = None,
    weights: Optional[PathLike] = None,
    clip_weights: Optional[PathLike] = None,
    licence: Optional[str] = None,
    name: Optional[str] = None,
    authors: Sequence[str] = (),
    repository: Optional[str] = None,
    pictures: bool = False,
    overwrite: bool = False,
) -> Publication:
    """Write a folder of learned prompts for others.

    ``predict``, ``studio``, configs (``load_from``) and ``prompts inspect`` take it, and
    ``hf://USER/NAME`` when it was uploaded. The model is built once, so that nothing is published
    that does not load. No path, no name of a photograph, of a user or of this machine is written;
    equal input gives equal files.

    Args:
        model: A folder that ``fit`` has written, or a config with ``prompts``.
        out: Folder that is written; new or empty.
        prompts: The trained prompts of a config. Defaults to None: those of the folder.
        weights: The file of the base model. Defaults to None: where the config names it.
        clip_weights: That of CLIP, for SAM. Defaults to None: where the config names it.
        licence: Identifier of the licence of the prompts, as model hubs have it, such as
            ``'cc-by-4.0'``. Defaults to None: the card says that there is none.
        name: Title of the card. Defaults to None: it names the classes.
        authors: Who publishes. Defaults to ().
        repository: ``USER/NAME`` on the hub, for the commands in the card. Defaults to None: they
            are for the folder.
        pictures: Whether ``preview.jpg`` shows photographs of the test or validation. Defaults to
            False: photographs are private.
        overwrite: Whether files that an earlier call has written to ``out`` are replaced. Defaults
            to False.

    Raises:
        FileNotFoundError: If model, prompts or files of weights are not there.
        ConfigError: If the model cannot be published, with the reason.
        CheckpointError: If the prompts are damaged, or do not say what they were trained with.
        PromptStateError: If they are of another model.
        OutputError: If ``out`` holds other things, or is read.
        ValueError: If an argument has another form, such as a licence with spaces.
        OSError: If something cannot be written.
    """
    _check_texts(licence, repository)
    if is_published(model):
        raise ConfigError(
            f'model {os.fspath(model)!r}: expected a folder of `mmseg-ssprompt fit` or a config, '
            'found what was published already'
        )
    trained = read_model(model, prompts, weights, clip_weights)
    if trained.prompts is None:
        raise ConfigError(
            f'model {os.fspath(model)!r}: expected the trained prompts of the config too '
            '(--prompts FILE), found none'
        )
    source = read_prompt_source(trained.prompts)
    fit = _read_fit(trained, pictures)
    folder = Path(os.path.abspath(Path(out).expanduser()))
    inputs = trained.find_inputs()
    if fit is not None:
        inputs.folders[Path(fit.data.images)] = 'the photographs'
    check_folder(folder, inputs, _FILES, 'publish')
    check_outputs({'--out': folder}, inputs, ['--out'], overwrite)
    check_writable(folder.parent)
    portable = make_portable(trained)
    local = TrainedModel(portable.with_local_files(), trained.config, trained.prompts, None)
    built = Predictor(local, 'cpu').model
    state = _keep_prompts(built, source.state_dict, source.name)
    with completing(folder, replaces=_FILES) as temporary:
        _write_prompts(state, portable, temporary)
        content = to_json(portable.content, 'config')
        text = json.dumps(content, indent=2, ensure_ascii=False) + '\n'
        write_atomically(temporary / CONFIG, text.encode())
        if pictures and fit is not None:
            write_atomically(temporary / PREVIEW, _draw_preview(fit))
        file = temporary / PROMPTS
        facts = CardFacts(
            title=name,
            authors=tuple(authors),
            licence=licence,
            repository=repository,
            prompts=get_module_metadata(state)[''][METADATA_KEY],
            size=file.stat().st_size,
            numbers=sum(value.numel() for value in state.values()),
            config=portable,
            digests={e.name: sha256_of(e.file) for e in portable.weights if not e.is_asset},
            fit=fit,
            has_preview=pictures,
        )
        write_atomically(temporary / CARD, write_card(facts).encode())
        read_published(temporary)
    preview = folder / PREVIEW if pictures else None
    return Publication(folder, folder / PROMPTS, folder / CONFIG, folder / CARD, preview)


def _check_texts(licence: Optional[str], repository: Optional[str]) -> None:
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise ValueError(
            f'--licence: expected the identifier of a licence, such as apache-2.0 or cc-by-4.0, '
            f'found {licence!r}'
        )
    if repository is not None and not _REPOSITORY.fullmatch(repository):
        raise ValueError(f'--repository: expected USER/NAME, found {repository!r}')


def _read_fit(trained: TrainedModel, pictures: bool) -> Optional[FitFacts]:
    """What ``fit`` has written beside the prompts; None of a config."""
    if trained.folder is None:
        if pictures:
            raise ConfigError(
                'pictures: expected a folder of `mmseg-ssprompt fit`, which has predictions of its '
                'photographs, found a config. Leave --pictures out'
            )
        return None
    data, results = FitData.read(trained.folder), read_results(trained.folder)
    return FitFacts(data, results, find_intervals(data, results))


def _keep_prompts(
    model: PromptSegmentor, found: Mapping[str, Tensor], name: str
) -> 'OrderedDict[str, Tensor]':
    """The state dict of a model that has its prompts, without what is private or frozen.

    It says what it was trained with as this version does, and nothing else of where it was.
    """
    state = model.without_frozen(model.state_dict())
    frozen = [key for key in found if key not in state]
    if frozen:
        raise ConfigError(
            f'{name}: expected prompts alone, found frozen weights too, such as {frozen[0]!r}. '
            'Give the file from before `mmseg-ssprompt prompts merge`'
        )
    described = get_module_metadata(state)[''][METADATA_KEY]
    random = [part for part, digest in described['base']['parts'].items() if digest is None]
    if random:
        raise ConfigError(
            f'{name}: expected a base model with published weights, found that {random[0]} has '
            'random ones, which nobody else has'
        )
    if 'taken_from' in described.get('spatial_prompts', {}):
        described['spatial_prompts']['taken_from'] = 'prompts of another data set'
    kept = OrderedDict((key, value.detach().cpu().clone()) for key, value in state.items())
    set_module_metadata(kept, {'': {METADATA_KEY: to_plain(described)}})
    return kept


def _write_prompts(state: Mapping[str, Tensor], config: PortableConfig, folder: Path) -> None:
    dataset = config.content['test_dataloader']['dataset']
    facts = dict(classes=dataset['classes'], palette=dataset['palette'])
    meta = {META_KEY: config.content, 'dataset_meta': facts}
    write_prompts(state, meta, folder / PROMPTS)


def _draw_preview(fit: FitFacts) -> bytes:
    """A JPEG file: in each row a photograph, what was found before and after, and the truth."""
    rows = []
    for scene in draw_scenes(fit.data, fit.results)[:_SCENES]:
        panels = (scene.photograph, scene.before, scene.after, scene.truth)
        images = [np.asarray(Image.open(io.BytesIO(base64.b64decode(p.data)))) for p in panels]
        rows.append(np.concatenate(list(_with_gaps(images)), axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    content = io.BytesIO()
    Image.fromarray(np.concatenate(padded)[:-_GAP]).save(content, 'JPEG', quality=_QUALITY)
    return content.getvalue()


def _with_gaps(images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for number, image in enumerate(images):
        if number:
            yield np.full((len(image), _GAP, 3), 255, np.uint8)
        yield image
