"""What the studies say of each claim, SAM beside SEEM: the table of docs/evidence/README.md."""

import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from .studies.report import compare

__all__ = ['BASES', 'CLAIMS', 'Claim', 'format_claims']

BASES = dict(SAM='', SEEM='_seem')


class Claim(NamedTuple):
    """A row that should be better than another one of the same study.

    ``rows`` and ``than`` have a name for each of ``BASES``; ``layout`` names SAM's by the number
    of points.
    """

    text: str
    study: str
    rows: Dict[str, str]
    than: Dict[str, str]


def _same(name: str) -> Dict[str, str]:
    return dict.fromkeys(BASES, name)


ZERO_SHOT = dict(
    SAM='handcrafted prompts (zero-shot)',
    SEEM="SEEM's own prompts (zero-shot)",
)
SSPROMPT = _same('SSPrompt')


def _coast(name: str) -> Dict[str, str]:
    """A row of ``layout``, with SAM's 64 points."""
    return dict(SAM=f'N = 64: {name}', SEEM=name)


CLAIMS = (
    Claim('learned prompts beat handcrafted ones', 'components', SSPROMPT, ZERO_SHOT),
    Claim('SpaPrompt alone gains', 'components', _same('SpaPrompt'), ZERO_SHOT),
    Claim('SemPrompt alone gains', 'components', _same('SemPrompt'), ZERO_SHOT),
    Claim(
        'embedding space beats 2-D coordinates (SpaPrompt on points)',
        'components',
        dict(SAM='SpaPrompt', SEEM='64 clicks, SpaPrompt'),
        dict(SAM='2-D coordinates', SEEM='64 clicks, 2-D coordinates'),
    ),
    Claim(
        'a learned weight beats W = 0.5 (SpaPrompt)',
        'components',
        _same('SpaPrompt'),
        _same('SpaPrompt, W = 0.5'),
    ),
    Claim(
        'a learned weight beats W = 0.5 (SSPrompt)',
        'components',
        SSPROMPT,
        _same('SSPrompt, W = 0.5'),
    ),
    Claim('both sides beat SemPrompt alone', 'components', SSPROMPT, _same('SemPrompt')),
    Claim('both sides beat SpaPrompt alone', 'components', SSPROMPT, _same('SpaPrompt')),
    Claim('SemPrompt beats CoOp', 'components', _same('SemPrompt'), _same('CoOp')),
    Claim(
        'SSPrompt beats a fine-tuned mask decoder',
        'components',
        SSPROMPT,
        _same('mask decoder fine-tuned'),
    ),
    Claim(
        'coast: learned prompts beat handcrafted ones',
        'layout',
        _coast('SSPrompt'),
        dict(SAM='N = 64: handcrafted prompts', SEEM=ZERO_SHOT['SEEM']),
    ),
    Claim(
        'coast: both sides beat SemPrompt alone',
        'layout',
        _coast('SSPrompt'),
        _coast('SemPrompt'),
    ),
    Claim(
        'coast: a learned weight beats W = 0.5',
        'layout',
        _coast('SSPrompt'),
        _coast('SSPrompt, W = 0.5'),
    ),
)


def format_claims(folder: Path) -> str:
    """The table, as Markdown.

    Args:
        folder: With the JSON files of the studies. A row that was not run leaves its cells empty.
    """
    lines = [f'| claim (difference in mIoU) | {" | ".join(BASES)} |', '|---' * 3 + '|']
    for claim in CLAIMS:
        cells = [
            _cell(claim, base, folder / f'{claim.study}{end}.json') for base, end in BASES.items()
        ]
        lines.append(f'| {" | ".join([claim.text, *cells])} |')
    return '\n'.join(lines)


def _cell(claim: Claim, base: str, file: Path) -> str:
    mious = _read_mious(file)
    difference = compare(mious.get(claim.rows[base], ()), mious.get(claim.than[base], ()))
    if difference is None:
        return ''
    mean, half = difference
    verdict = 'yes' if mean - half > 0 else '**no, worse**' if mean + half < 0 else '**not shown**'
    return f'{verdict}: {difference}'


def _read_mious(file: Path) -> Dict[str, List[float]]:
    """By the names of rows; empty if there is no such file."""
    if not file.is_file():
        return {}
    rows: List[Dict[str, Any]] = json.loads(file.read_text(encoding='utf-8'))['rows']
    return {row['name']: row['miou'] for row in rows}
