"""What each study compares."""

from dataclasses import dataclass
from typing import Dict, Tuple

__all__ = ['STUDIES', 'Study', 'StudyRow']

_SSPROMPT = 'ssprompt_sam-tiny_shapes.py'


@dataclass(frozen=True)
class StudyRow:
    """One line of a study's table.

    Attributes:
        name: What the line is called.
        config: Below ``configs/``.
        options: Settings beside the config, as ``--cfg-options`` takes them.
        trains: Whether there is anything to train.
    """

    name: str
    config: str
    options: Tuple[str, ...] = ()
    trains: bool = True


@dataclass(frozen=True)
class Study:
    """Rows that differ in what their names say, and in nothing else but a tuned learning rate.

    Attributes:
        title: The heading of its page.
        reference: Name of the row that the others are compared with, seed by seed.
        rows: The lines of the table.
    """

    title: str
    reference: str
    rows: Tuple[StudyRow, ...]


def _ablation(name: str, config: str) -> StudyRow:
    return StudyRow(name, f'ablations/{config}_sam-tiny_shapes.py')


_ZERO_SHOT = StudyRow(
    'handcrafted prompts (zero-shot)', 'ssprompt_sam-tiny_shapes_zero-shot.py', trains=False
)

STUDIES: Dict[str, Study] = dict(
    components=Study(
        'Components',
        'SSPrompt',
        (
            _ZERO_SHOT,
            _ablation('2-D coordinates', 'coordinates'),
            _ablation('SpaPrompt', 'spatial-only'),
            _ablation('SpaPrompt, W = 0.5', 'spatial-only_fixed-weight'),
            _ablation('SpaPrompt, W = 1', 'spatial-only_learned-only'),
            _ablation('SemPrompt', 'semantic-only'),
            _ablation('SemPrompt, W = 0.5', 'semantic-only_fixed-weight'),
            _ablation('SemPrompt, W = 1', 'semantic-only_learned-only'),
            _ablation('SSPrompt, W = 0.5', 'fixed-weight'),
            _ablation('SSPrompt, W = 1', 'learned-only'),
            StudyRow('SSPrompt', _SSPROMPT),
            _ablation('CoOp', 'coop'),
            _ablation('CoOp, a context for each class', 'coop_class-specific'),
            _ablation('CoOp and SpaPrompt', 'coop_spatial'),
            _ablation('projection alone', 'projection'),
            _ablation('SSPrompt and projection', 'ssprompt_projection'),
            _ablation('linear classifier on the image embedding', 'linear'),
            _ablation('mask decoder fine-tuned', 'decoder'),
        ),
    ),
    prompts=Study(
        'Number of spatial prompts',
        'N = 64',
        tuple(
            StudyRow(
                f'N = {count}',
                _SSPROMPT,
                (f'model.decode_head.spatial_prompts.num_prompts={count}',),
            )
            for count in (1, 4, 16, 25, 49, 64, 100, 225, 400)
        ),
    ),
    decoding=Study(
        'Joint and independent decoding',
        'joint',
        (
            StudyRow('handcrafted prompts, joint', _ZERO_SHOT.config, trains=False),
            StudyRow(
                'handcrafted prompts, independent',
                _ZERO_SHOT.config,
                ('model.decode_head.mask_decoder.decoding=independent',),
                trains=False,
            ),
            StudyRow('joint', _SSPROMPT),
            _ablation('independent', 'independent'),
        ),
    ),
)
