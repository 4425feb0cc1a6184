"""The number of prompts that are decoded at a time: from sizes and free memory."""

import os
import subprocess
import sys
from functools import partial

import pytest
import torch

from mmseg_ssprompt.models.sam import chunks
from mmseg_ssprompt.models.sam.chunks import bytes_per_prompt, choose_chunk_size, free_bytes
from mmseg_ssprompt.models.sam.mask_decoder import SAMMaskDecoder

GROUP = 7  # SAM's five tokens, a point and its padding
CPU = torch.device('cpu')
#: The measured and the expected bytes of a prompt, without and with gradients.
PEAK = """
import torch
from mmseg_ssprompt.analysis.complexity.measuring import measure_peak
from mmseg_ssprompt.models.sam.chunks import bytes_per_prompt
from mmseg_ssprompt.models.sam.mask_decoder import SAMMaskDecoder

count = 4
decoder = SAMMaskDecoder('vit_b', decoding='independent', chunk_size=count)
embedding = torch.randn(1, 256, 64, 64)

for trains in (False, True):
    prompts = torch.randn(count, 2, 256, requires_grad=trains)

    def decode():
        with torch.set_grad_enabled(trains):
            masks = decoder(embedding, embedding, prompts, embedding).mask_logits
        if trains:
            masks.square().mean().backward()

    decode()
    taken = measure_peak(decode, torch.device('cpu')) * 1e9 / count
    print(taken, bytes_per_prompt(decoder.decoder, embedding, 7, trains))
"""


@pytest.fixture(scope='module')
def large():
    """A decoder of real size with random weights."""
    return SAMMaskDecoder('vit_b', decoding='independent')


@pytest.fixture
def free(monkeypatch):
    """Sets how much memory is free."""
    return lambda count: monkeypatch.setattr(chunks, 'free_bytes', lambda device: count)


def image(batch=1, device='cpu', dtype=torch.float32):
    """Of no device stands for one of a GPU here: all that is asked of it are its sizes."""
    return torch.empty(batch, 256, 64, 64, device=device, dtype=dtype)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='peaks are read from /proc')
def test_bytes_are_those_that_a_chunk_takes(tmp_path):
    """In a process of its own, whose malloc gives back at once what is freed."""
    (tmp_path / 'peak.py').write_text(PEAK)
    done = subprocess.run(
        [sys.executable, 'peak.py'],
        cwd=tmp_path,
        env={**os.environ, 'MALLOC_MMAP_THRESHOLD_': '1000000', 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    without, with_gradients = (line.split() for line in done.stdout.splitlines()[-2:])
    for taken, expected in (without, with_gradients):
        assert 0.7 * float(taken) < float(expected) < 1.5 * float(taken)


def test_bytes_grow_with_all_that_they_depend_on(large):
    count = partial(bytes_per_prompt, large.decoder)
    one = count(image(), GROUP, False)
    assert count(image(3), GROUP, False) == 3 * one
    assert count(image(dtype=torch.bfloat16), GROUP, False) == one // 2
    assert count(image(), GROUP + 2, False) > one
    assert count(image(), GROUP, True) > 2 * one


def test_a_gpu_takes_all_that_fit(large, free):
    embedding = image(device='meta')
    choose = partial(choose_chunk_size, large.decoder, embedding, 100, GROUP)
    each = bytes_per_prompt(large.decoder, embedding, GROUP, True)
    found = []
    for prompts in (0, 1, 4, 30, 80, 200, 10_000):
        free(prompts * each)
        found.append(choose(True))
        assert choose(False) >= choose(True)
    assert found == sorted(found)
    assert found[0] == 1  # there is no smaller chunk
    assert 15 <= found[3] <= 30
    assert found[-1] == 100
    free(None)
    assert choose(True) == 100


@pytest.mark.parametrize('trains', [False, True])
def test_a_cpu_takes_what_its_caches_hold_and_memory_allows(large, free, trains):
    choose = partial(choose_chunk_size, large.decoder)
    free(10**12)
    assert choose(image(), 100, GROUP, trains) == 2
    assert choose(image(4), 100, GROUP, trains) == 1
    assert choose(image(), 1, GROUP, trains) == 1
    small = SAMMaskDecoder('tiny')
    assert choose_chunk_size(small.decoder, torch.empty(1, 96, 12, 12), 64, GROUP, trains) == 64
    free(10**7)
    assert choose(image(), 100, GROUP, trains) == 1


@pytest.mark.parametrize('trains', [False, True])
def test_auto_equals_one_prompt_at_a_time(monkeypatch, trains):
    """Whatever memory is free."""
    torch.manual_seed(0)
    decoder = SAMMaskDecoder('tiny', decoding='independent')
    assert decoder.chunk_size == 'auto'
    embedding, prompts = torch.randn(2, 96, 12, 12), torch.randn(6, 2, 96)
    sizes, decode = [], chunks.choose_chunk_size

    def run(chunk_size):
        decoder.chunk_size = chunk_size
        given = prompts.clone().requires_grad_(trains)
        masks, tokens, quality, _ = decoder(embedding, embedding[:1], given, embedding[:1])
        found = [masks, tokens, quality]
        if trains:
            sum(x.square().sum() for x in found).backward()
            found.append(given.grad)
        return found

    def record(*args):
        sizes.append(decode(*args))
        return sizes[-1]

    monkeypatch.setattr('mmseg_ssprompt.models.sam.mask_decoder.choose_chunk_size', record)
    expected = run(1)
    each = bytes_per_prompt(decoder.decoder, embedding, GROUP, trains)
    for prompts_that_fit in (0, 4, 100):
        free = int(prompts_that_fit * each / chunks._SHARE + each / 2)
        monkeypatch.setattr(chunks, 'free_bytes', lambda device, free=free: free)
        torch.testing.assert_close(run('auto'), expected, atol=1e-5, rtol=1e-5)
    assert sizes == [1, 4, 6]


def test_gradients_are_asked_for_where_something_trains(monkeypatch):
    asked = []
    module = 'mmseg_ssprompt.models.sam.mask_decoder.choose_chunk_size'
    monkeypatch.setattr(module, lambda *args: asked.append(args[-1]) or 3)
    embedding, prompts = torch.randn(1, 96, 12, 12), torch.randn(3, 2, 96)
    for trainable in (False, True):
        decoder = SAMMaskDecoder('tiny', decoding='independent', trainable=trainable)
        for given in (prompts, prompts.clone().requires_grad_()):
            decoder(embedding, embedding, given, embedding)
            with torch.no_grad():
                decoder(embedding, embedding, given, embedding)
    assert asked == [False, False, True, False, True, False, True, False]


def test_free_memory_of_this_machine(monkeypatch, tmp_path):
    assert free_bytes(CPU) > 10**7
    assert free_bytes(torch.device('meta')) is None
    meminfo = tmp_path / 'meminfo'
    meminfo.write_text('MemTotal: 900 kB\nMemAvailable:   500 kB\n')
    monkeypatch.setattr(chunks, '_MEMINFO', meminfo)
    assert free_bytes(CPU) == 500 * 1024
    monkeypatch.setattr(chunks, '_MEMINFO', tmp_path / 'absent')
    monkeypatch.setattr(chunks.os, 'sysconf_names', {})
    assert free_bytes(CPU) is None


def test_free_memory_of_a_gpu_counts_what_torch_holds(monkeypatch):
    for name, value in (('mem_get_info', (70, 100)), ('memory_reserved', 20)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda device: 5)
    assert free_bytes(torch.device('cuda')) == 85
