"""DaViT as SEEM has it: timm's, under the official names."""

import re
from typing import Any, Dict, List, Tuple

from torch import Tensor, nn

from ...extras import import_extra, lacks
from .seem_variants import SEEMVariant

__all__ = ['DaViT']

_WINDOW_SIZE = 7
_FEATURE = "SEEM's variants davit_d3 and davit_d5"
#: Regular expressions of timm's names, and the official names; all that match are replaced.
_OFFICIAL_NAMES = (
    (r'^stem\.', 'convs.0.'),
    (r'^stages\.(\d+)\.downsample\.', r'convs.\1.'),
    (r'^(convs\.\d+)\.conv\.', r'\1.proj.'),
    (r'^stages\.(\d+)\.blocks\.', r'blocks.\1.'),
    (r'\.cpe([12])\.proj\.', r'.conv\1.fn.dw.'),
    (r'\.spatial_block\.norm1\.', '.spatial_block.window_attn.norm.'),
    (r'\.channel_block\.norm1\.', '.channel_block.channel_attn.norm.'),
    (r'\.spatial_block\.attn\.', '.spatial_block.window_attn.fn.'),
    (r'\.channel_block\.attn\.', '.channel_block.channel_attn.fn.'),
    (r'\.norm2\.', '.ffn.norm.'),
    (r'\.mlp\.', '.ffn.fn.net.'),
)


class DaViT(nn.Module):
    """Four stages of pairs of blocks, which attend over windows and over channels.

    Its state dict, which it also loads, has the official names in place of timm's.

    Args:
        variant: One with the backbone ``'davit'``.

    Shape:
        - Input: (B, 3, H, W) float, sides multiples of 32.
        - Output: maps (B, width, h, w) at 1/4, 1/8, 1/16 and 1/32.

    Raises:
        MissingExtraError: If timm is not installed, or too old.
    """

    def __init__(self, variant: SEEMVariant) -> None:
        super().__init__()
        davit = import_extra('timm.models.davit', _FEATURE)
        try:
            model = davit.DaVit(
                depths=variant.depths,
                embed_dims=variant.widths,
                num_heads=variant.heads,
                window_size=_WINDOW_SIZE,
                down_kernel_size=variant.down_kernel,
                channel_attn_v2=True,  # without it timm computes something else
                named_blocks=True,
                num_classes=0,
            )
        except TypeError as error:  # an older one has no such argument yet
            raise lacks('timm', _FEATURE, error) from error
        self.stem, self.stages = model.stem, model.stages
        self._official_names = {name: _official_name(name) for name in self.state_dict()}
        self._register_state_dict_hook(_rename)

    def _load_from_state_dict(
        self, state_dict: Dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name, official in self._official_names.items():
            if f'{prefix}{official}' in state_dict:
                state_dict[f'{prefix}{name}'] = state_dict.pop(f'{prefix}{official}')
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Encode images (B, 3, H, W): maps from fine to coarse."""
        x = self.stem(x)
        maps: List[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


def _official_name(name: str) -> str:
    """SEEM's name of a tensor of timm's."""
    for pattern, official in _OFFICIAL_NAMES:
        name = re.sub(pattern, official, name)
    return name


def _rename(module: DaViT, state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
    """Give a module's tensors in its state dict, which has been made, the official names."""
    for name, official in module._official_names.items():
        state_dict[f'{prefix}{official}'] = state_dict.pop(f'{prefix}{name}')
