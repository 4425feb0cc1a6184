"""Hooks of mkdocs: what lies outside of ``docs``, links to it, and notebooks as pages.

Pages link to files of the repository, as GitHub shows them: ``../SECURITY.md``,
``../configs/README.md``, ``notebooks/prompts.ipynb``. In the site, files from outside of ``docs``
lie in ``repository/`` and notebooks are pages, and links are rewritten.
"""

import posixpath
import re
from pathlib import Path
from typing import Any, Match

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from dev.site.notebook_pages import make_page, name_pictures

__all__ = ['on_files', 'on_page_markdown', 'place_in_site']

#: What of the repository is in the site beside ``docs``, as patterns.
REPOSITORY = (
    *('*.md', '*.cff', 'LICENSE', 'tests/toy_base_model.py'),
    *('configs/*.md', 'configs/*/*.md', 'configs/*.py', 'configs/ablations/*.py'),
)
_LINK = re.compile(r'(?<=\]\()(?![a-z]+:|#|/)(?P<path>[^)#\s]+)')


def on_files(files: Files, *, config: MkDocsConfig, **kwargs: Any) -> Files:
    """Add the files of the repository, and a page for each notebook."""
    root = Path(config.config_file_path).parent
    for pattern in REPOSITORY:
        for path in sorted(root.glob(pattern)):
            name = place_in_site(path.relative_to(root).as_posix())
            files.append(File.generated(config, name, abs_src_path=str(path)))
    for file in [file for file in files if file.src_uri.endswith('.ipynb')]:
        notebook = Path(file.abs_src_path or '').read_text(encoding='utf-8')
        page = place_in_site(f'docs/{file.src_uri}')
        files.append(File.generated(config, page, content=make_page(notebook, page)))
        for picture, content in name_pictures(notebook, page).items():
            files.append(File.generated(config, picture, content=content))
    return files


def place_in_site(path: str) -> str:
    """Where a file of the repository lies among the sources of the site."""
    path = re.sub(r'\.ipynb$', '.md', path)
    return path.removeprefix('docs/') if path.startswith('docs/') else f'repository/{path}'


def on_page_markdown(markdown: str, *, page: Page, **kwargs: Any) -> str:
    """Let links of a page that leave ``docs``, or come from outside of it, lead into the site."""
    here = page.file.src_uri
    is_outside = here.startswith('repository/')
    in_repository = here.removeprefix('repository/') if is_outside else f'docs/{here}'

    def rewrite(match: Match[str]) -> str:
        folder = posixpath.dirname(in_repository)
        target = place_in_site(posixpath.normpath(posixpath.join(folder, match['path'])))
        return posixpath.relpath(target, posixpath.dirname(here) or '.')

    return _LINK.sub(rewrite, markdown)
