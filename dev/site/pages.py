"""Hooks of mkdocs: pages of the repository outside of ``docs``, and links to them.

Pages link to files of the repository, as GitHub shows them: ``../SECURITY.md``,
``../configs/README.md``. In the site these files lie in ``repository/``, and links are rewritten.
"""

import posixpath
import re
from pathlib import Path
from typing import Any, Match

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

__all__ = ['on_files', 'on_page_markdown', 'place_in_site']

#: What of the repository is in the site beside ``docs``, as patterns.
REPOSITORY = ('*.md', 'configs/*.md', 'configs/*/*.md', 'configs/*.py', 'configs/ablations/*.py')
_LINK = re.compile(r'(?<=\]\()(?![a-z]+:|#|/)(?P<path>[^)#\s]+)')


def on_files(files: Files, *, config: MkDocsConfig, **kwargs: Any) -> Files:
    """Add the files of the repository."""
    root = Path(config.config_file_path).parent
    for pattern in REPOSITORY:
        for path in sorted(root.glob(pattern)):
            name = place_in_site(path.relative_to(root).as_posix())
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def place_in_site(path: str) -> str:
    """Where a file of the repository lies among the sources of the site."""
    return path.removeprefix('docs/') if path.startswith('docs/') else f'repository/{path}'


def on_page_markdown(markdown: str, *, page: Page, **kwargs: Any) -> str:
    """Let links of a page that leave ``docs``, or come from outside of it, lead into the site."""
    here = page.file.src_uri
    in_repository = (
        here.removeprefix('repository/') if here.startswith('repository/') else f'docs/{here}'
    )

    def rewrite(match: Match[str]) -> str:
        target = posixpath.normpath(
            posixpath.join(posixpath.dirname(in_repository), match['path'])
        )
        return posixpath.relpath(place_in_site(target), posixpath.dirname(here) or '.')

    return _LINK.sub(rewrite, markdown)
