"""The card of published prompts: a page of Markdown as model hubs read it."""

from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from ..fitting.bases import find_base
from ..fitting.fit_data import SPLITS
from ..fitting.report_tables import list_arms
from ..prompt_files.published import CONFIG
from ..weights.prompt_places import PROMPTS
from .figures import FitFacts, list_figures
from .markdown import escape, front_matter, one_line, table
from .portable import PortableConfig

__all__ = ['PREVIEW', 'CardFacts', 'write_card']

#: The picture beside the card.
PREVIEW = 'preview.jpg'
_PAPER = 'https://arxiv.org/abs/2401.04651'
_CITATION = """\
```bibtex
@article{huang2024ssprompt,
  title = {Learning to Prompt Segment Anything Models},
  author = {Huang, Jiaxing and Jiang, Kai and Zhang, Jingyi and Qiu, Han and Lu, Lewei and Lu, Shijian and Xing, Eric},
  journal = {arXiv preprint arXiv:2401.04651}, year = {2024}
}
```"""  # noqa: E501
_TASKS = dict(
    semantic='semantic segmentation',
    instance='instance segmentation',
    panoptic='panoptic segmentation',
)
#: What a model hub calls metrics, by our names.
_METRICS = dict(mIoU='mean_iou', PQ='pq', segm_mAP='map')
#: Repositories of a model hub that have the same weights, by the names of the published files.
_HUB_NAMES = {
    'sam_vit_b_01ec64.pth': 'facebook/sam-vit-base',
    'sam_vit_l_0b3195.pth': 'facebook/sam-vit-large',
    'sam_vit_h_4b8939.pth': 'facebook/sam-vit-huge',
    'ViT-B-16.pt': 'openai/clip-vit-base-patch16',
    'ViT-B-32.pt': 'openai/clip-vit-base-patch32',
    'ViT-L-14.pt': 'openai/clip-vit-large-patch14',
    **dict.fromkeys(
        ('seem_focalt_v1.pt', 'seem_focall_v1.pt', 'seem_samvitb_v1.pt', 'seem_samvitl_v1.pt'),
        'xdecoder/SEEM',
    ),
}


class CardFacts(NamedTuple):
    """All that a card is written of.

    Attributes:
        title: Of the card; None: it is made of what the prompts are.
        authors: Who publishes the prompts.
        licence: Its identifier, as model hubs have it; None if none was given.
        repository: ``USER/NAME`` on the hub; None if it is not known.
        prompts: What the prompts say of themselves (``describe_prompts``).
        size: Of the file of prompts, in bytes.
        numbers: How many numbers it holds.
        config: With the files of weights.
        digests: SHA-256 of the files of weights, by their names in the config.
        fit: What ``fit`` has written; None of a config and its prompts.
        has_preview: Whether there is a picture.
    """

    title: Optional[str]
    authors: Sequence[str]
    licence: Optional[str]
    repository: Optional[str]
    prompts: Mapping[str, Any]
    size: int
    numbers: int
    config: PortableConfig
    digests: Mapping[str, str]
    fit: Optional[FitFacts]
    has_preview: bool

    @property
    def classes(self) -> List[str]:
        """The names of the classes."""
        return list(self.prompts['class_names'])

    @property
    def base(self) -> str:
        """The base model as people say it."""
        if self.fit is not None:
            return find_base(self.fit.results['base']).name
        variant = self.config.content['model']['backbone'].get('variant', '')
        return f'{self.prompts["base"]["kind"]} {variant}'.strip()

    @property
    def task(self) -> str:
        """What is predicted, in words."""
        outputs = self.config.content['model'].get('test_cfg', {}).get('outputs') or ['semantic']
        names = dict(instances='instance')
        return ' and '.join(_TASKS[names.get(each, each)] for each in outputs)


def write_card(facts: CardFacts) -> str:
    """The text of ``README.md``.

    Args:
        facts: What is known; nothing else stands in the card, and no paths of this machine and no
            names of photographs are among it.
    """
    title = facts.title or _make_title(facts)
    parts = [
        [f'# {escape(title)}'],
        _describe(facts),
        ['## Base model', '', *_list_weights(facts)],
        ['## Classes and data', '', *_list_classes(facts)],
        ['## Figures', '', *list_figures(facts.fit)],
        ['## How to use it', '', *_say_how(facts)],
        ['## Limits', '', *_list_limits(facts)],
        ['## Licence and citation', '', *_say_licence(facts)],
    ]
    lines = [line for part in parts for line in (*part, '')]
    return front_matter(_make_metadata(facts, title)) + '\n' + '\n'.join(lines).rstrip() + '\n'


def _make_title(facts: CardFacts) -> str:
    names = facts.classes[:3] + ['...'] * (len(facts.classes) > 3)
    return f'SSPrompt: {", ".join(names)}'


def _make_metadata(facts: CardFacts, title: str) -> Dict[str, Any]:
    """What stands between the fences, for machines."""
    content: Dict[str, Any] = {} if facts.licence is None else dict(license=facts.licence)
    content.update(library_name='mmseg_ssprompt', pipeline_tag='image-segmentation')
    kind = str(facts.prompts['base']['kind'])
    content['tags'] = ['ssprompt', 'prompt-learning', kind, 'mmsegmentation']
    files = [each.name.rpartition('/')[2] for each in facts.config.weights]
    names = list(dict.fromkeys(_HUB_NAMES[each] for each in files if each in _HUB_NAMES))
    if names:
        content['base_model'] = names
    if facts.fit is None:
        return content
    results = facts.fit.results
    metric = results['metric']
    best = next(arm for arm in results['arms'] if arm['name'] == results['best'])
    split = 'validation' if best['test'] is None else 'test'
    value = best[split].get(metric)
    if value is None or value != value:
        return content
    content['metrics'] = [_METRICS[metric]]
    measured = dict(type=_METRICS[metric], name=f'{metric} (%)', value=round(float(value), 2))
    result = dict(
        task=dict(type='image-segmentation', name=facts.task),
        dataset=dict(type='own-photographs', name='Photographs of the authors', split=split),
        metrics=[measured],
    )
    content['model-index'] = [dict(name=one_line(title), results=[result])]
    return content


def _describe(facts: CardFacts) -> List[str]:
    by = f' by {", ".join(map(escape, facts.authors))}' if facts.authors else ''
    trained = ', '.join(facts.prompts['trained']).replace('_', ' ') or 'nothing (handcrafted)'
    if facts.fit is not None:
        best = next(row for row in list_arms(facts.fit.results) if row.is_best)
        trained += f' (the arm "{best.title}" below)'
    lines = [
        f'Prompts for {facts.task}{by}: what was learned by [SSPrompt]({_PAPER}) for the frozen '
        f'base model {escape(facts.base)}, which is not among these files.',
        '',
        f'`{PROMPTS}` has {facts.size:,} bytes and {facts.numbers:,} numbers. What trained: '
        f'{escape(trained)}. `{CONFIG}` is plain data, in which nothing runs.',
    ]
    if facts.has_preview:
        what = 'Photographs, what was found before and after, and the truth'
        lines += ['', f'![{what}]({PREVIEW})']
    return lines


def _list_weights(facts: CardFacts) -> Iterator[str]:
    others = [each for each in facts.config.weights if not each.is_asset]
    shipped = [each for each in facts.config.weights if each.is_asset]
    if others:
        yield 'Files that are needed beside these, which have to be downloaded from their authors:'
        yield ''
        rows = [
            (f'`{each.name}`', each.where or '', f'`{facts.digests[each.name]}`') for each in others
        ]
        yield from table(('file', 'where', 'SHA-256'), rows)
        yield ''
    if shipped:
        names = ', '.join(f'`{each.name.rpartition("/")[2]}`' for each in shipped)
        yield f'These come with the package mmseg_ssprompt: {names}.'
        yield ''
    yield 'The parts whose weights the prompts were learned with; others are refused:'
    yield ''
    parts = dict(facts.prompts['base']['parts'])
    text = facts.prompts.get('semantic_prompts', {}).get('text_encoder')
    if text is not None:
        parts['text_encoder'] = text
    digests = [(escape(part), f'`{digest}`') for part, digest in parts.items()]
    yield from table(('part', 'SHA-256 of its tensors'), digests)


def _list_classes(facts: CardFacts) -> Iterator[str]:
    if facts.fit is None:
        yield from table(
            ('number', 'class'),
            [(str(number), escape(name)) for number, name in enumerate(facts.classes)],
        )
        yield ''
        yield 'The data that they were learned on are not described in the files.'
        return
    data = facts.fit.data
    counts, total = data.count(), max(1, sum(each.height * each.width for each in data.pictures))
    rows = [
        (str(number), escape(name), f'{100 * row["pixels"] / total:.2f}', str(row['train']))
        for number, (name, row) in enumerate(counts.items(), start=data.label_ids.classes.start)
    ]
    yield from table(('number', 'class', 'pixels (%)', 'training pictures'), rows, numbers=2)
    yield ''
    split = {name: len(data.names(name)) for name in SPLITS}
    train = f'{split["train"]} for training'
    if data.num_folds:
        train += f' and validation ({data.num_folds} folds)'
    others = (('val', 'validation'), ('test', 'the test'))
    uses = [train, *(f'{split[part]} for {what}' for part, what in others if split[part])]
    shots = data.arguments.get('shots')
    drawn = f'; {shots} pictures of each class were drawn for training' if shots else ''
    yield (
        f'{len(data.pictures)} photographs with labels: {", ".join(uses)}{drawn}. '
        f'{100 * data.ignored_share:.1f} % of the pixels do not count. The photographs are not '
        f'among these files{", but for those in the picture" if facts.has_preview else ""}.'
    )
    if data.rest_id is not None:
        yield ''
        yield f'Pixels that do not show the class have the number {data.rest_id}.'


def _say_how(facts: CardFacts) -> Iterator[str]:
    place = '.' if facts.repository is None else f'hf://{facts.repository}'
    where, needs = 'in this folder', ['the package mmseg_ssprompt']
    if facts.repository is not None:
        where = 'in any folder'
        needs.append('huggingface_hub')
    needs += [f'`{each.name}`' for each in facts.config.weights if not each.is_asset]
    yield f'With {", ".join(needs)}, and pictures of yours in `new_photos`, {where}:'
    yield ''
    yield '```bash'
    yield f'mmseg-ssprompt prompts inspect {place}'
    yield f'mmseg-ssprompt predict {place} new_photos --out predictions --overlay'
    yield '```'
    yield ''
    yield '```python'
    yield 'import mmseg_ssprompt'
    yield ''
    yield f"for prediction in mmseg_ssprompt.predict('{place}', 'new_photos'):"
    yield '    prediction.label_map  # (H, W), the numbers of classes above'
    yield '```'
    yield ''
    yield (
        f"In a config of MMSegmentation: `load_from = '{place}'`, with the same base model, "
        'classes and kinds of prompts.'
    )


def _list_limits(facts: CardFacts) -> Iterator[str]:
    yield '- Only the classes above are told apart.'
    yield '- Photographs of other places, cameras or seasons were not measured.'
    if facts.fit is not None and facts.fit.results['base'].endswith('-tiny'):
        yield (
            '- The base model is a miniature that has seen drawn shapes alone; it is for trying '
            'commands out, and its results are of no use.'
        )
    yield '- The prompts work with the base model above alone; the package refuses others.'


def _say_licence(facts: CardFacts) -> Iterator[str]:
    if facts.licence is None:
        yield 'No licence was given for the prompts: ask their authors before you use them.'
    else:
        yield f'The prompts: {escape(facts.licence)}.'
    yield 'The base model has a licence of its own, that of its authors.'
    yield ''
    yield 'The method, of which the package is an independent implementation:'
    yield ''
    yield _CITATION
