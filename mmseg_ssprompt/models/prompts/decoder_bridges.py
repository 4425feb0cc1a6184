"""Bridges inside the frozen decoder: its embeddings, learned and mixed with the frozen ones."""

from typing import Any, Sequence, Tuple

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

    Where there are mask heads, a bridge of full rank lies beside each, from its input to its
    output: ``w <- W * (w + A t + b) + (1 - W) * w`` for the mask embedding ``w`` of a token ``t``.
    They are the last of this list.

    Args:
        decoder: The frozen decoder, whose :class:`torch.nn.LayerNorm` modules are bridged, in the
            order of its modules. It must not be shared with another model.
        rank: Of ``A B``. Defaults to 4.
        initial_weight: ``W`` at the start, in (0, 1). Defaults to 0.5.
        mask_heads: Parts of the decoder that make mask embeddings of tokens, perceptrons with
            ``layers``. Defaults to none.

    Raises:
        ValueError: If the decoder has no layer norm, or as :class:`BridgeFusion`.
    """

    def __init__(
        self,
        decoder: nn.Module,
        rank: int = 4,
        initial_weight: float = 0.5,
        mask_heads: Sequence[nn.Module] = (),
    ) -> None:
        norms = [module for module in decoder.modules() if isinstance(module, nn.LayerNorm)]
        if not norms:
            raise ValueError(
                'decoder_bridges are put after layer norms: expected a mask decoder that has some, '
                f'found none in {type(decoder).__name__}. Leave decoder_bridges out'
            )
        widths = [int(norm.normalized_shape[0]) for norm in norms]
        bridges = [_NormBridge(dims, dims, rank, initial_weight) for dims in widths]
        beside = [_HeadBridge(*_widths(head), None, initial_weight) for head in mask_heads]
        super().__init__([*bridges, *beside])
        # Methods of modules: a copy of the model has hooks that are copied with it.
        for norm, bridge in zip(norms, bridges):
            norm.register_forward_hook(bridge.change)
        for head, bridge_of_masks in zip(mask_heads, beside):
            head.register_forward_hook(bridge_of_masks.change)


def _widths(head: nn.Module) -> Tuple[int, int]:
    """Of input and output of a perceptron."""
    layers: Any = head.layers
    return layers[0].in_features, layers[-1].out_features


class _NormBridge(BridgeFusion):
    """A bridge as a forward hook."""

    def change(self, norm: nn.Module, inputs: Tuple[Any, ...], z: Tensor) -> Tensor:
        """What goes on from the norm instead of ``z``: (..., D)."""
        changed: Tensor = self(z, z)
        return changed


class _HeadBridge(BridgeFusion):
    """A bridge from the input of a module to its output, as a forward hook."""

    def change(self, head: nn.Module, inputs: Tuple[Tensor, ...], out: Tensor) -> Tensor:
        """What goes on from the head instead of ``out``: (..., E)."""
        changed: Tensor = self(out, inputs[0])
        return changed
