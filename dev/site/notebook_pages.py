"""Notebooks as pages of Markdown, with the outputs that are stored in them."""

import base64
import json
from typing import Any, Dict, List

__all__ = ['make_page', 'name_pictures']

_PICTURE = 'image/png'


def name_pictures(notebook: str, page: str) -> Dict[str, bytes]:
    """The pictures among the outputs of a notebook.

    Args:
        notebook: Its JSON text.
        page: The path of its page among the sources of the site.

    Returns:
        The content of each picture by its path, beside the page.
    """
    pictures = [data[_PICTURE] for data in _all_data(json.loads(notebook)) if _PICTURE in data]
    base = page.removesuffix('.md')
    return {
        f'{base}_{number}.png': base64.b64decode(_join(content))
        for number, content in enumerate(pictures)
    }


def make_page(notebook: str, page: str) -> str:
    """The Markdown of a notebook.

    Args:
        notebook: Its JSON text.
        page: As for :func:`name_pictures`.
    """
    names = iter([name.rpartition('/')[2] for name in name_pictures(notebook, page)])
    parts: List[str] = []
    for cell in json.loads(notebook)['cells']:
        source = _join(cell['source'])
        if cell['cell_type'] == 'markdown':
            parts.append(source)
            continue
        parts.append(f'```python\n{source}\n```')
        parts += [_show(output, names) for output in cell['outputs']]
    return '\n\n'.join(part for part in parts if part) + '\n'


def _show(output: Dict[str, Any], names: Any) -> str:
    if output['output_type'] == 'stream':
        return f'```text\n{_join(output["text"]).rstrip()}\n```'
    data = output['data']
    if _PICTURE in data:
        return f'![What the code above draws]({next(names)})'
    if 'text/html' in data:
        return f'<div>{_join(data["text/html"])}</div>'
    return f'```text\n{_join(data["text/plain"])}\n```'


def _all_data(notebook: Dict[str, Any]) -> List[Dict[str, Any]]:
    code = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    return [output.get('data', {}) for cell in code for output in cell['outputs']]


def _join(text: Any) -> str:
    """Notebooks store texts as lists of lines, too."""
    return text if isinstance(text, str) else ''.join(text)
