"""Decoded images kept in memory, for trainings in which no prompt changes."""

import hashlib
from typing import Any, Callable, Dict, Iterator

import torch
from torch import Tensor

from .features import Decoded, ImageFeatures

__all__ = ['DecodedMemory']


class DecodedMemory:
    """What a frozen decoder has made of each image and the same prompts.

    Images are told apart by the content of their features, so whoever decodes need not know which
    one it is. Each is decoded alone, and what comes out a second time has the same bits. When the
    memory is full, other images are decoded each time.
    """

    def __init__(self) -> None:
        self._kept: Dict[bytes, Decoded] = {}
        self.bytes = 0

    def clear(self) -> None:
        """Forget all images."""
        self._kept.clear()
        self.bytes = 0

    @torch.no_grad()
    def decode(
        self,
        decode: Callable[[ImageFeatures, Tensor], Decoded],
        features: ImageFeatures,
        spatial: Tensor,
        settings: str,
        max_bytes: int,
    ) -> Decoded:
        """Decode B images, those that are known excepted.

        Args:
            decode: What decodes them.
            features: Of B images.
            spatial: Prompts (N, T, D), or (B, N, T, D).
            settings: What else the result depends on: weights and settings of the decoder.
            max_bytes: Images are kept while all take no more bytes.
        """
        found = []
        for number in range(len(features.embedding)):
            image = ImageFeatures.from_named(
                {name: value[number : number + 1] for name, value in features.named().items()}
            )
            own = spatial if spatial.dim() == 3 else spatial[number : number + 1]
            key = _digest(settings, own, *image.named().values())
            decoded = self._kept.get(key)
            if decoded is None:
                decoded = decode(image, own)
                size = sum(x.numel() * x.element_size() for x in decoded if x is not None)
                if self.bytes + size <= max_bytes:
                    self._kept[key] = decoded
                    self.bytes += size
            found.append(decoded)
        # Copies, so that nobody can change what is kept.
        fields: Iterator[Any] = zip(*found)
        return Decoded._make(None if each[0] is None else torch.cat(each) for each in fields)


def _digest(settings: str, *tensors: Tensor) -> bytes:
    digest = hashlib.blake2b(settings.encode())
    for tensor in tensors:
        digest.update(f'{tuple(tensor.shape)} {tensor.dtype} {tensor.device}'.encode())
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(data.numpy().data)
    return digest.digest()
