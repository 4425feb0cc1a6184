"""An extension of griffe: docstrings, which are written for Sphinx's readers, as Markdown."""

import re
from typing import Any

from griffe import Docstring, Extension, Object

__all__ = ['Docstrings', 'to_markdown']


class Docstrings(Extension):
    """Rewrites the docstring of each object that is read."""

    def on_instance(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite one."""
        if isinstance(obj.docstring, Docstring):
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """``:class:`Name``` as code, and a block of code after two colons as Markdown has it."""
    text = re.sub(r':[a-z]+:`~?([^`]+)`', r'`\1`', text)
    return re.sub(r'(?<=\S)::\n', ':\n', text)
