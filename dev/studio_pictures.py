"""Draw the pictures of the studio in the docs, in a real browser.

    python -m dev.studio_pictures

needs gradio, playwright and Debian's ``chromium``.
"""

import argparse
import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from mmseg_ssprompt.cli.studio import DEMO_CONFIG, DEMO_NOTE, DEMO_PROMPTS
from mmseg_ssprompt.config_files import find_config
from mmseg_ssprompt.files import write_atomically
from mmseg_ssprompt.prediction.predictor import read_model
from mmseg_ssprompt.studio import StudioModel
from mmseg_ssprompt.studio.server import running
from mmseg_ssprompt.weights.state_dicts import resolve_checkpoint_path

from .studies.processes import ROOT

OUT = ROOT / 'docs' / 'images'
#: Widths of the browser, the most that is kept of the page's height, and what it is reduced to.
SIZES = dict(studio=(1280, 2000, 900), studio_narrow=(390, 1350, 390))


def take(browser: Any, address: str, width: int, height: int) -> Image.Image:
    """The page, with a point of the picture asked."""
    page = browser.new_page(viewport=dict(width=width, height=900))
    page.goto(address)
    page.wait_for_selector('#detail .st-sheet', timeout=120_000)
    if width > 1000:
        page.locator('#stage .st-canvas').click(position=dict(x=150, y=240))
        page.wait_for_selector('#detail .st-marked', timeout=120_000)
    page.mouse.move(0, 0)
    page.evaluate('window.scrollTo(0, 0)')
    page.wait_for_timeout(1500)
    content = page.screenshot(full_page=True)
    page.close()
    picture = Image.open(io.BytesIO(content)).convert('RGB')
    return picture.crop((0, 0, width, min(height, picture.height)))


def main() -> None:
    argparse.ArgumentParser(description='Draw the pictures of the studio').parse_args()
    trained = read_model(find_config(DEMO_CONFIG), resolve_checkpoint_path(DEMO_PROMPTS))
    chromium = shutil.which('chromium')
    with running(StudioModel(trained, 'cpu'), note=DEMO_NOTE) as address:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=['--no-sandbox', '--force-color-profile=srgb']
            )
            for name, (width, height, reduced) in SIZES.items():
                picture = take(browser, address, width, height)
                picture.thumbnail((reduced, height))
                save(picture, OUT / f'{name}.png')
            browser.close()


def save(picture: Image.Image, file: Path) -> None:
    """Write a PNG of few colours, which is a third as large."""
    content = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(content, 'PNG', optimize=True)
    write_atomically(file, content.getvalue())
    print(f'{file}: {len(content.getvalue()) / 1000:.0f} kB')


if __name__ == '__main__':
    main()
