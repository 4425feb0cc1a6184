"""Whether a recipe reaches the fine-tuned mask decoder: a table of docs/evidence/README.md."""

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from .studies.report import compare, measured

__all__ = ['DECODER', 'MOST_PARAMETERS', 'PLACES', 'format_recipes']

PLACES = (
    'sam-tiny, shapes',
    'sam-tiny, shapes-coast',
    'seem-tiny, shapes',
    'seem-tiny, shapes-coast',
)
DECODER = 'mask decoder fine-tuned'
#: That a recipe may train.
MOST_PARAMETERS = 30_000


def format_recipes(folder: Path) -> str:
    """How far each recipe is from the fine-tuned decoder, which has a line of its own.

    Args:
        folder: With ``recipes.json``. What was run in no place has no line, and a place where it
            was not run an empty cell; recipes with more parameters have none.
    """
    file = folder / 'recipes.json'
    rows: List[Dict[str, Any]] = json.loads(file.read_text(encoding='utf-8'))['rows']
    found: Dict[str, Dict[str, Dict[str, Any]]] = {place: {} for place in PLACES}
    for row in rows:
        place, _, recipe = row['name'].partition(': ')
        if place in found:
            found[place][recipe] = row
    lines = [f'| recipe (parameters) | {" | ".join(PLACES)} |']
    lines.append('|---' * (1 + len(PLACES)) + '|')
    for recipe in dict.fromkeys(recipe for own in found.values() for recipe in own):
        own = {place: there[recipe] for place, there in found.items() if recipe in there}
        counts = [row['trainable_parameters'] for row in own.values()]
        if recipe != DECODER and not 0 < max(counts) <= MOST_PARAMETERS:
            continue
        cells = [_cell(own.get(place), found[place].get(DECODER)) for place in PLACES]
        size = ' to '.join(f'{count:,}' for count in sorted({min(counts), max(counts)}))
        lines.append(f'| {" | ".join([f"{recipe} ({size})", *cells])} |')
    return '\n'.join(lines)


def _cell(row: Any, decoder: Any) -> str:
    if row is None or decoder is None:
        return ''
    if row is decoder:
        return f'{np.mean(measured(row["miou"])):.1f}'
    difference = compare(row['miou'], decoder['miou'])
    if difference is None:
        return ''
    mean, half = difference
    verdict = 'reached' if mean >= 0 else 'below' if mean + half < 0 else 'not told apart'
    return f'{verdict}: {difference}'
