"""The official SAM with random weights that matter everywhere."""

import torch
from segment_anything.modeling import Sam

import mmseg_ssprompt  # noqa: F401
from mmseg_ssprompt.models.sam.sam_variants import build_sam


def randomised_sam(variant: str) -> Sam:
    """The official model; also what it initialises with zeros (positions) is random."""
    torch.manual_seed(0)
    sam = build_sam(variant)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return sam
