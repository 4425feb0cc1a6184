"""The figures as a page of Markdown, and the machine they are of."""

import os
from pathlib import Path
from typing import Any, Dict, List, Optional

from .flops import PARTS

__all__ = ['format_figure', 'format_page']

Row = Dict[str, Any]

_PAGE = """\
# Parameters, operations, memory and time

    {command}

made this page and `{json}`{random_weights}.

{table}

**Measured on**: {machine}.

- **Parameters** are numbers in parameters, without buffers such as the default prompts. CLIP's
  text encoder is dropped when its prompts are made, so it counts in CoOp's rows only.
- **GFLOPs** are 10^9 floating-point operations of one prediction, a multiplication and an addition
  being two, in matrix products, convolutions and attention (`torch.utils.flop_counter`, with its
  own formula for attention on CPUs, which it leaves out). "Prompts" is what makes spatial and
  semantic prompts, "rest" the classifier, the sum over masks, or the linear head.
- **Training** is forward, backward and the config's optimiser at one image a batch in float32, with
  the image encoder; **testing** is the prediction of a label map. Both begin with a random picture
  of the input's size in memory, whose label map has nine classes, or all if there are fewer:
  reading and resizing files is not in them. Time is the median of {images} after one that does
  not count.
- **GB** (10^9 bytes) is the peak above what the process had when the model was built; a fresh
  process for each cell. An empty cell was not measured, for the reason that is given, or because
  nothing trains.
"""
_HEADER = (
    '| config | input | trained | frozen | GFLOPs image encoder | prompts | mask decoder | rest '
    '| all | training s/image | GB | testing s/image | GB |'
)


def format_page(
    rows: List[Row], machine: Dict[str, Any], command: str, json_file: Optional[Path], page: Path
) -> str:
    """The page, whose links are relative to where it lies."""
    files = sorted({file for row in rows for file in row['random_weights']})
    weights = f', with random weights in the place of {", ".join(files)}' if files else ''
    return _PAGE.format(
        command=command,
        json='no JSON file' if json_file is None else json_file.name,
        random_weights=weights,
        table=_format_table(rows, page.parent),
        machine='; '.join(f'{key} {value}' for key, value in machine.items()),
        images=rows[0]['images'],
    )


def _format_table(rows: List[Row], folder: Path) -> str:
    lines = [_HEADER, '|---' * _HEADER.count(' | ') + '|---|']
    for row in rows:
        config = Path(row['config'])
        link = Path(os.path.relpath(config, folder)).as_posix()
        cells = [f'[{config.stem}]({link})', f'{row["frame"][1]} x {row["frame"][0]}']
        cells += [f'{row["parameters"][kind]:,}' for kind in ('trainable', 'frozen')]
        cells += [format_figure(row['flops'][part] / 1e9) for part in (*PARTS, 'total')]
        for phase in ('train', 'test'):
            cells += _cost_cells(row, phase)
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def _cost_cells(row: Row, phase: str) -> List[str]:
    """Seconds and GB; where they could not be measured, why, once."""
    problem = row['problems'].get(phase)
    if problem is not None:
        return [problem, '']
    return [format_figure(row.get(f'{phase}_{unit}')) for unit in ('seconds', 'gb')]


def format_figure(value: Optional[float]) -> str:
    """Three significant digits without exponent; nothing for None."""
    if value is None:
        return ''
    if abs(value) >= 100:
        return f'{float(f"{value:.3g}"):,.0f}'
    return f'{float(f"{value:.3g}"):.12f}'.rstrip('0').rstrip('.')
