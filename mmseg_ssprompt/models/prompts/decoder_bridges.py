"""Bridges inside the frozen decoder: its embeddings, learned and mixed with the frozen ones."""

from typing import Any, Tuple

from torch import Tensor, nn

from .bridge import BridgeFusion

__all__ = ['DecoderBridges']


class DecoderBridges(nn.ModuleList):
    """``z <- W * zhat + (1 - W) * z`` after each layer norm of a frozen decoder (ours).

    ``zhat = z + A B z + b`` is a learned map of the embedding that the frozen decoder has there,
    at a low rank (representation fine-tuning, LoReFT, arXiv 2404.03592, without its constraint on
    ``B``), and ``W`` its trust weight: :class:`BridgeFusion` from the space to itself. Tokens and
    image stream are changed alike for all prompts and places. No weight of the decoder changes;
    bridges are forward hooks on its norms, and their parameters belong to this module alone.

    Args:
        decoder: The frozen decoder, whose :class:`torch.nn.LayerNorm` modules are bridged, in the
            order of its modules. It must not be shared with another model.
        rank: Of ``A B``. Defaults to 4.
        initial_weight: ``W`` at the start, in (0, 1). Defaults to 0.5.

    Raises:
        ValueError: If the decoder has no layer norm, or as :class:`BridgeFusion`.
    """

    def __init__(self, decoder: nn.Module, rank: int = 4, initial_weight: float = 0.5) -> None:
        norms = [module for module in decoder.modules() if isinstance(module, nn.LayerNorm)]
        if not norms:
            raise ValueError(
                'decoder_bridges are put after layer norms: expected a mask decoder that has some, '
                f'found none in {type(decoder).__name__}. Leave decoder_bridges out'
            )
        widths = [int(norm.normalized_shape[0]) for norm in norms]
        bridges = [_NormBridge(dims, dims, rank, initial_weight) for dims in widths]
        super().__init__(bridges)
        for norm, bridge in zip(norms, bridges):
            # A method of a module: a copy of the model has hooks that are copied with it.
            norm.register_forward_hook(bridge.change)


class _NormBridge(BridgeFusion):
    """A bridge as a forward hook."""

    def change(self, norm: nn.Module, inputs: Tuple[Any, ...], z: Tensor) -> Tensor:
        """What goes on from the norm instead of ``z``: (..., D)."""
        changed: Tensor = self(z, z)
        return changed
