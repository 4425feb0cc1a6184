"""The docs as a site: it builds strictly, asks for nothing from elsewhere, leaves nothing out."""

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Dict, List, Set, Tuple
from urllib.parse import unquote, urlsplit

import mmengine.registry
import mmseg.registry
import pytest
from mmengine.registry import Registry

import mmseg_ssprompt
from code_blocks import ROOT

DOCS = ROOT / 'docs'
CHROMIUM = Path('/usr/bin/chromium')
#: Attributes by which a page loads something without being asked.
LOADS = dict(script='src', img='src', iframe='src', source='src', video='src', embed='src')
LOADING_LINKS = {
    'stylesheet',
    'icon',
    'preload',
    'prefetch',
    'preconnect',
    'dns-prefetch',
    'manifest',
}
#: Registered for tests of the package alone.
NOT_DOCUMENTED = {'ShapesBackend'}


#: Its modules are for the command line, which says what it takes itself (``--help``).
COMMAND_LINE = 'mmseg_ssprompt.cli.parser'


def documented_modules() -> Set[str]:
    """What pages of the API show, by ``::: MODULE``."""
    pages = [page.read_text(encoding='utf-8') for page in (DOCS / 'api').glob('*.md')]
    return set(re.findall(r'^::: (\S+)$', '\n'.join(pages), re.MULTILINE))


def public_packages() -> Dict[str, List[str]]:
    """The names in ``__all__`` of each package below the top."""
    found = {}
    for info in pkgutil.walk_packages(mmseg_ssprompt.__path__, 'mmseg_ssprompt.'):
        if info.ispkg and info.name != COMMAND_LINE:
            module = importlib.import_module(info.name)
            found[info.name] = list(getattr(module, '__all__', ()))
    return found


PACKAGES = public_packages()
#: It gathers what the packages below it have.
GATHERS = {'mmseg_ssprompt.models'}


def test_every_package_has_a_page():
    expected = {name for name, names in PACKAGES.items() if names} - GATHERS
    assert expected <= documented_modules(), 'add "::: PACKAGE" to a page in docs/api'
    gathered = {name for each in GATHERS for name in PACKAGES[each]}
    below = {
        name for package, names in PACKAGES.items() if package not in GATHERS for name in names
    }
    assert gathered <= below


def test_pages_show_modules_that_are_there():
    for name in documented_modules():
        importlib.import_module(name)


def registered_components() -> Set[str]:
    """The types of the package that configs can name."""
    registries = {
        each
        for module in (mmengine.registry, mmseg.registry)
        for each in vars(module).values()
        if isinstance(each, Registry)
    }
    return {
        kind.__name__
        for registry in registries
        for kind in registry.module_dict.values()
        if kind.__module__.startswith('mmseg_ssprompt.')
    }


def test_every_registered_component_is_on_a_page():
    shown = {
        name for module in documented_modules() for name in importlib.import_module(module).__all__
    }
    assert registered_components() - shown - NOT_DOCUMENTED == set()
    assert len(registered_components()) > 60


# What is built


class Loaded(HTMLParser):
    """What a page loads, what it links to, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: List[str] = []
        self.links: List[str] = []
        self.anchors: Set[str] = set()
        self.classes: Set[str] = set()

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, str]]) -> None:
        values = {key: value or '' for key, value in attrs}
        self.anchors |= {values[key] for key in ('id', 'name') if values.get(key)}
        self.classes |= set(values.get('class', '').split())
        if values.get(LOADS.get(tag, '')):
            self.loads.append(values[LOADS[tag]])
        if tag == 'link' and set(values.get('rel', '').split()) & LOADING_LINKS:
            self.loads.append(values['href'])
        if tag == 'a' and values.get('href'):
            self.links.append(values['href'])
        self.loads += re.findall(r'url\(["\']?([^"\')]+)', values.get('style', ''))


def read_page(page: Path) -> Loaded:
    parser = Loaded()
    parser.feed(page.read_text(encoding='utf-8'))
    return parser


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    pytest.importorskip('mkdocs', reason='requirements/docs.txt is not installed: make docs')
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(folder)]
    environment = dict(os.environ, NO_MKDOCS_2_WARNING='1')
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'WARNING' not in done.stderr
    return folder


@pytest.fixture(scope='module')
def pages(site) -> Dict[Path, Loaded]:
    return {page: read_page(page) for page in sorted(site.rglob('*.html'))}


@pytest.mark.slow
@pytest.mark.process
def test_no_page_asks_for_anything_from_elsewhere(site, pages):
    for page, loaded in pages.items():
        outside = [url for url in loaded.loads if urlsplit(url).scheme not in ('', 'data')]
        outside += [url for url in loaded.loads if url.startswith('//')]
        assert not outside, f'{page.relative_to(site)}: {outside}'
        # Material fetches the program that draws these.
        assert not loaded.classes & {'mermaid', 'arithmatex'}
    for style in site.rglob('*.css'):
        text = style.read_text(encoding='utf-8')
        assert not re.findall(r'(?:@import\s+|url\()["\']?(?:https?:)?//', text), style


@pytest.mark.slow
@pytest.mark.process
def test_links_lead_to_pages_and_anchors(site, pages):
    """Beside mkdocs' own check, of what it wrote."""
    for page, loaded in pages.items():
        if page.name == '404.html':
            continue
        for link in [*loaded.links, *loaded.loads]:
            parts = urlsplit(link)
            if parts.scheme or link.startswith('//'):
                assert parts.scheme in ('http', 'https', 'data', 'mailto'), link
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.is_file(), f'{page.relative_to(site)}: {link}'
            if parts.fragment and target.suffix == '.html':
                anchors = pages[site.resolve() / target.relative_to(site.resolve())].anchors
                assert unquote(parts.fragment) in anchors, f'{page.relative_to(site)}: {link}'


@pytest.mark.slow
@pytest.mark.process
def test_all_of_the_docs_is_in_the_site(site):
    for source in (*DOCS.rglob('*.md'), *DOCS.rglob('*.ipynb')):
        name = source.relative_to(DOCS).with_suffix('.html')
        name = name.with_name('index.html') if source.name == 'README.md' else name
        text = (site / name).read_text(encoding='utf-8')
        assert '<!-- figures' not in text.partition('<article')[0]
        assert '<article' in text


@pytest.mark.slow
@pytest.mark.process
def test_every_public_name_is_described(site):
    html = '\n'.join(page.read_text(encoding='utf-8') for page in (site / 'api').glob('*.html'))
    names = {
        f'{package}.{name}'
        for package, names in PACKAGES.items()
        if package not in GATHERS
        for name in names
    }
    absent = [name for name in sorted(names) if f'id="{name}"' not in html]
    assert not absent
    assert not re.search(r':(?:class|func|meth|attr|mod|exc|data):', html)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(not CHROMIUM.is_file(), reason='there is no Chromium: apt-get install chromium')
@pytest.mark.parametrize('width', [1280, 390])
def test_a_browser_shows_it_from_files_alone(site, width):
    playwright = pytest.importorskip('playwright.sync_api')
    shown = ('index.html', 'start/add_base_model.html', 'notebooks/prompts.html', 'api/models.html')
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path=str(CHROMIUM), args=['--no-sandbox', '--allow-file-access-from-files']
        )
        page = browser.new_page(viewport=dict(width=width, height=900))
        asked: List[str] = []
        failed: List[str] = []
        page.on('request', lambda request: asked.append(request.url))
        page.on('requestfailed', lambda request: failed.append(request.url))
        page.on('pageerror', lambda error: failed.append(str(error)))
        for name in shown:
            page.goto(f'file://{site / name}')
            page.wait_for_load_state('networkidle')
            assert page.locator('article h1').count() == 1, name
            wide = 'document.documentElement.scrollWidth - document.documentElement.clientWidth'
            assert page.evaluate(wide) <= 0, f'{name} is wider than the window'
        browser.close()
    assert len(asked) > len(shown)
    assert not [url for url in asked if not url.startswith(('file:', 'data:', 'blob:'))]
    assert not failed


# The hooks


def test_links_that_leave_the_docs_lead_into_the_site():
    pages = pytest.importorskip('dev.site.pages')

    def rewrite(text: str, page: str) -> str:
        return pages.on_page_markdown(
            text, page=SimpleNamespace(file=SimpleNamespace(src_uri=page))
        )

    text = '[a](../../configs/x.py) [b](../method.md#c) [c](https://a.b/c) [d](#e) [f](../n.ipynb)'
    expected = '[a](../repository/configs/x.py) [b](../method.md#c) [c](https://a.b/c) [d](#e)'
    assert rewrite(text, 'start/a.md') == f'{expected} [f](../n.md)'
    text, expected = '[a](docs/seem.md) [b](LICENSE)', '[a](../seem.md) [b](LICENSE)'
    assert rewrite(text, 'repository/README.md') == expected


def test_docstrings_become_markdown():
    docstrings = pytest.importorskip('dev.site.docstrings')
    made = docstrings.to_markdown('See :class:`~a.B`, such as::\n\n    c\n')
    assert made == 'See `a.B`, such as:\n\n    c\n'
    made = docstrings.to_markdown('Args:\n    x, y: Two.\n        More.\n    z: One.\n')
    both = ''.join(f'    {name}: Two.\n        More.\n' for name in 'xy')
    assert made == f'Args:\n{both}    z: One.\n'
