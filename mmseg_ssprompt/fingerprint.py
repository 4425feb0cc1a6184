"""Fingerprints of weights."""

import hashlib
from typing import Mapping

import torch
from torch import Tensor

__all__ = ['fingerprint_tensors']


def fingerprint_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and values (in float32, as models have them), sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}\n'.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
