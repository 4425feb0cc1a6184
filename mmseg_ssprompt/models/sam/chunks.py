"""How many prompts independent decoding takes at a time: by memory, and on CPUs by their caches."""

import os
import re
from pathlib import Path
from typing import Optional

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor

from ..base.exporting import is_exporting

__all__ = ['bytes_per_prompt', 'choose_chunk_size', 'free_bytes']

#: Bytes of the image stream of all prompts in a chunk, on CPUs: malloc gives these again and again,
#: while larger ones are new pages each time, which takes as long as computing what they hold.
_STREAM_ON_CPU = 2**23
#: The part of free memory that may be taken: the estimate is of tensors, and others allocate too.
_SHARE = 0.6
#: An exported program must not depend on the memory of who exports it.
_EXPORTED = 8
_MEMINFO = Path('/proc/meminfo')


def choose_chunk_size(
    decoder: MaskDecoder, image_embedding: Tensor, num_prompts: int, group: int, trains: bool
) -> int:
    """The number of prompts that are decoded at a time.

    On a GPU it is all of them where they fit into free memory, and otherwise the most that do. On a
    CPU it is also no more than its caches hold, whatever the memory.

    Args:
        decoder: The mask decoder.
        image_embedding: (B, D, h, w).
        num_prompts: N.
        group: The tokens of a prompt, mask tokens included.
        trains: Whether gradients will be asked for.

    Returns:
        From 1 to N.
    """
    if is_exporting():
        return min(_EXPORTED, num_prompts)
    most = num_prompts
    if image_embedding.device.type == 'cpu':
        stream = image_embedding.numel() * image_embedding.element_size()
        most = _STREAM_ON_CPU // stream
    free = free_bytes(image_embedding.device)
    if free is not None:
        each = bytes_per_prompt(decoder, image_embedding, group, trains)
        most = min(most, int(_SHARE * free / each))
    return max(1, min(most, num_prompts))


def bytes_per_prompt(
    decoder: MaskDecoder, image_embedding: Tensor, group: int, trains: bool
) -> int:
    """The memory at the peak of decoding a prompt for B images, from sizes alone.

    Args:
        decoder: The mask decoder.
        image_embedding: (B, D, h, w).
        group: The tokens of a prompt, mask tokens included.
        trains: Whether gradients will be asked for.
    """
    layers = decoder.transformer.layers
    rows = group * layers[0].cross_attn_image_to_token.num_heads
    masks = 16 * decoder.num_mask_tokens
    if trains:
        # A norm's input and output in each layer, the three stages of the first upscaling, and in
        # the backward pass three gradients; an attention map for each attention of the image.
        numbers = (2 * len(layers) + 3 + 3) * decoder.transformer_dim
        numbers += 2 * len(layers) * rows
    else:
        # The image stream and three stages of the first upscaling.
        numbers = 4 * decoder.transformer_dim + rows
    places: int = image_embedding.numel() // image_embedding.shape[1]  # B * h * w
    size: int = places * (numbers + masks) * image_embedding.element_size()
    return size


def free_bytes(device: torch.device) -> Optional[int]:
    """Memory that a process may still take; None where the system does not say."""
    if device.type == 'cuda':
        free, _ = torch.cuda.mem_get_info(device)
        # What torch's allocator holds and nobody uses is free as well.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != 'cpu':
        return None
    found = re.search(r'MemAvailable:\s+(\d+) kB', _read(_MEMINFO))
    if found:
        return 1024 * int(found[1])
    if 'SC_AVPHYS_PAGES' in getattr(os, 'sysconf_names', {}):
        return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return None


def _read(file: Path) -> str:
    return file.read_text() if file.is_file() else ''
