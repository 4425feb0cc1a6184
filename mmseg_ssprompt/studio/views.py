"""The parts of the page as HTML. Whatever comes from a stranger is escaped."""

from html import escape
from typing import List, Optional, Sequence, Tuple

import numpy as np

from .answers import AtPoint, Difference, LabelView, MaskFacts
from .drawing import draw_difference, draw_mask, draw_overlay, draw_sheet, mask_colour
from .encoding import as_jpeg, as_png
from .opened import OpenPicture
from .segmenting import Naming

__all__ = ['say_point', 'show_comparison', 'show_error', 'show_point', 'show_prompts', 'show_stage']

#: Classes that the legend names.
_LEGEND = 40


def show_stage(
    picture: OpenPicture, view: LabelView, point: Optional[Tuple[float, float]] = None
) -> str:
    """The photograph with a label map over it, and its legend."""
    height, width = picture.shown_size
    mark = ''
    if point is not None:
        mark = f'<span class="st-mark" style="left:{point[0]:.2%};top:{point[1]:.2%}"></span>'
    return (
        f'<div class="st-canvas" style="--ratio:{width / height:.4f}">'
        f'<img decoding="sync" alt="the photograph" src="{picture.photo}">'
        f'<img class="st-overlay" decoding="sync" alt="what was found in it" '
        f'src="{as_png(draw_overlay(view))}">{mark}</div>{_legend(view)}'
    )


def _legend(view: LabelView) -> str:
    naming = view.naming
    known = [(n, share) for n, share in view.shares.items() if n < len(naming.classes)]
    items = []
    for number, share in known[:_LEGEND]:
        note = ''
        index = naming.label_ids.classes.index(number) if number in naming.label_ids.classes else -1
        if index >= 0 and not naming.learned[index]:
            note = '<em>handcrafted</em>'
        items.append(
            f'<li>{_chip(naming.palette[number])}<span>{escape(naming.classes[number])}</span>'
            f'<b>{_percent(share)}</b>{note}</li>'
        )
    missing = [
        naming.classes[n]
        for n in naming.label_ids.counted
        if view.shares.get(n) is None and naming.classes[n]
    ]
    text = ''
    if missing:
        shown = ', '.join(missing[:_LEGEND])
        text = f'<p class="st-missing">Not found: {escape(shown)}</p>'
    return f'<ul class="st-legend">{"".join(items)}</ul>{text}'


def show_prompts(
    picture: OpenPicture,
    small: np.ndarray,
    facts: Sequence[MaskFacts],
    naming: Naming,
    chosen: int,
    mask: np.ndarray,
) -> str:
    """All masks in a sheet, and one of them at full size."""
    palette = _class_palette(naming)
    sheet, columns, rows = draw_sheet(picture.shown, small, facts, palette)
    left, top = chosen % columns / columns, chosen // columns / rows
    frame = (
        f'<span class="st-chosen" style="left:{left:.3%};top:{top:.3%};'
        f'width:{1 / columns:.3%};height:{1 / rows:.3%}"></span>'
    )
    named = sum(each.label is not None for each in facts)
    each, colour = facts[chosen], mask_colour(facts[chosen].label, palette)
    return (
        '<div class="st-two"><figure><figcaption><h3>All masks</h3>'
        f'<p>{named} of {len(facts)} have a class; the others are “no object”, in grey. '
        'Choose one.</p></figcaption>'
        f'<div class="st-sheet" data-columns="{columns}" data-rows="{rows}" '
        f'data-count="{len(facts)}"><img alt="all masks" decoding="sync" src="{as_png(sheet)}">'
        f'{frame}</div></figure>'
        f'<figure><figcaption><h3>Prompt {each.prompt}</h3>{_facts(each, naming)}</figcaption>'
        f'<img alt="the mask of prompt {each.prompt}" decoding="sync" '
        f'src="{as_jpeg(draw_mask(picture.shown, mask, colour))}"></figure></div>'
    )


def show_point(picture: OpenPicture, found: AtPoint, naming: Naming, base: str) -> str:
    """What the base model and the prompts say of a point, side by side."""
    palette = _class_palette(naming)
    mark = f'<span class="st-mark" style="left:{found.x:.2%};top:{found.y:.2%}"></span>'
    said = found.base
    facts = [('says', 'a mask; it knows no classes')]
    if said.score is not None:
        facts = [('says', f'{_name(said.label, naming)} ({_percent(said.score)})')]
    facts.append(('covers', f'{_percent(float((said.mask > 0.5).mean()))} of the picture'))
    if said.quality is not None:
        facts.append(('expects an IoU of', f'{said.quality:.2f}'))
    colour = mask_colour(said.label, palette)
    first = draw_mask(
        picture.shown, said.mask, colour if said.score is not None else (90, 170, 255)
    )
    leader, ids = found.leader, naming.label_ids
    here = naming.palette[found.label]
    name = naming.classes[found.label]
    second = draw_mask(picture.shown, found.mask, here)
    says = f'{escape(name)} ({_percent(found.leader_score)})'
    if leader.label is None or ids.classes[leader.label] != found.label:
        says += f', first of all {_name(leader.label, naming)} ({_percent(leader.score)})'
    more = [
        ('share of the scores', _percent(found.score)),
        ('decided by', f'prompt {leader.prompt}'),
        ('which says', says),
        *_about(leader),
    ]
    return (
        '<div class="st-two">'
        + _figure(f'{escape(base)}, asked at this point', _list(facts), first, mark)
        + _figure(f'SSPrompt: {_chip(here)}{escape(name)}', _list(more), second, mark)
        + '</div>'
    )


def _figure(title: str, facts: str, picture: np.ndarray, mark: str) -> str:
    return (
        f'<figure><figcaption><h3>{title}</h3>{facts}</figcaption><div class="st-marked">'
        f'<img alt="a mask" decoding="sync" src="{as_jpeg(picture)}">{mark}</div></figure>'
    )


def say_point(found: AtPoint, naming: Naming) -> str:
    """What is said of a point, in a sentence."""
    covers = _percent(float((found.base.mask > 0.5).mean()))
    return (
        f'Here: {naming.classes[found.label]} ({_percent(found.score)} of the scores), decided by '
        f'prompt {found.leader.prompt}. The base model sees a mask of {covers} of the picture.'
    )


def show_comparison(picture: OpenPicture, found: Difference) -> str:
    """Two label maps side by side, and where they differ."""
    parts = []
    for view in (found.first, found.second):
        parts.append(
            f'<figure><figcaption><h3>{escape(view.title)}</h3></figcaption>'
            f'<div class="st-marked"><img alt="" decoding="sync" src="{picture.photo}">'
            f'<img class="st-overlay" alt="its label map" decoding="sync" '
            f'src="{as_png(draw_overlay(view))}"></div></figure>'
        )
    swaps = ''.join(
        f'<li><span>{escape(first or "nothing")} → {escape(second or "nothing")}</span>'
        f'<b>{_percent(share)}</b></li>'
        for first, second, share in found.swaps
    )
    difference = as_jpeg(draw_difference(picture.shown, found.differs))
    return (
        f'<p class="st-lead"><b>{_percent(found.share)}</b> of the pixels differ.</p>'
        f'<div class="st-three">{"".join(parts)}<figure><figcaption><h3>where they differ</h3>'
        f'</figcaption><img alt="where they differ" decoding="sync" src="{difference}"></figure>'
        f'</div><ul class="st-legend">{swaps}</ul>'
    )


def show_error(text: str) -> str:
    """What is wrong, in a box."""
    return f'<p class="st-error" role="alert">{escape(text)}</p>'


def _facts(each: MaskFacts, naming: Naming) -> str:
    """What is known of a mask."""
    chip = _chip(mask_colour(each.label, _class_palette(naming)))
    says = f'{chip}{_name(each.label, naming)} ({_percent(each.score)})'
    return _list([('class', says), *_about(each)])


def _about(each: MaskFacts) -> List[Tuple[str, str]]:
    facts = [('covers', f'{_percent(each.share)} of the picture')]
    if each.quality is not None:
        facts.append(('expects an IoU of', f'{each.quality:.2f}'))
    return facts


def _name(label: Optional[int], naming: Naming) -> str:
    return 'no object' if label is None else escape(naming.names[label])


def _list(facts: Sequence[Tuple[str, str]]) -> str:
    return '<dl>' + ''.join(f'<div><dt>{k}</dt><dd>{v}</dd></div>' for k, v in facts) + '</dl>'


def _class_palette(naming: Naming) -> Sequence[Sequence[int]]:
    """The colours of the classes by their index, without that of the rest."""
    return naming.palette[naming.label_ids.classes.start :]


def _chip(colour: Sequence[int]) -> str:
    red, green, blue = (int(value) for value in colour)
    return f'<i style="background:rgb({red},{green},{blue})"></i>'


def _percent(share: float) -> str:
    """A share in percent, with a digit behind the point where it is small."""
    return f'{100 * share:.0f} %' if share >= 0.1 or share == 0 else f'{100 * share:.1f} %'
