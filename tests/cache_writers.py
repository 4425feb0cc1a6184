"""Processes that fill a cache with samples that cost nothing, so that they mostly write."""

import multiprocessing
from pathlib import Path

import torch

from mmseg_ssprompt.cache import EmbeddedSample, fill_cache, finish_cache

KEY = dict(format=0, made_by='a test')
SAMPLES = 5 * 16 + 3  # in six shards

# Its children need no time to import anything, and have no threads of torch from before.
_FORKS = multiprocessing.get_context('forkserver')
_FORKS.set_forkserver_preload(['mmseg_ssprompt.cache'])


def sample_of(number: int) -> EmbeddedSample:
    """The same in every process."""
    generator = torch.Generator().manual_seed(number)
    labels = torch.randint(256, (1, 40, 40), generator=generator).to(torch.uint8)
    embedding = torch.randn(8, 12, 12, generator=generator).half()
    return EmbeddedSample(dict(embedding=embedding), labels, dict(number=number))


def make_cache(folder: Path) -> None:
    """Fill a cache, or what is missing of it."""
    fill_cache(folder, KEY, range(SAMPLES), sample_of)
    finish_cache(folder, KEY, dict(classes=('a', 'b')), SAMPLES)


def start(folder: Path) -> multiprocessing.Process:
    """Let another process do it."""
    process = _FORKS.Process(target=make_cache, args=(folder,))
    process.start()
    return process
