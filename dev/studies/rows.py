"""What a study is made of."""

from dataclasses import dataclass
from typing import Optional, Tuple

__all__ = ['Study', 'StudyRow', 'fusion_options']


@dataclass(frozen=True)
class StudyRow:
    """One line of a study's table.

    Attributes:
        name: What the line is called.
        config: Below ``configs/``.
        options: Settings beside the config, as ``--cfg-options`` takes them.
        trains: Whether there is anything to train.
        oracle: ``'best_mask'`` or ``'true_mask'``: the same prompts, measured with a part of the
            truth (see ``mmseg-ssprompt oracle``).
        source: The row whose learned prompts are transferred to this one's config.
        parts: Which of them.
        reference: Name of the row that this one is compared with. Defaults to None: the study's.
        embedded: Whether it trains and is tested on embedded samples in float32, so that the image
            encoder sees each scene once in all rows. Not where the precision of the encoder is
            compared, and not where the config has data sets of embedded samples itself.
        metric: By which learning rates are chosen and rows compared, in percent: ``'mIoU'``,
            ``'PQ'`` or ``'segm_mAP'``. One for all rows of a study.
    """

    name: str
    config: str
    options: Tuple[str, ...] = ()
    trains: bool = True
    oracle: Optional[str] = None
    source: Optional['StudyRow'] = None
    parts: Tuple[str, ...] = ()
    reference: Optional[str] = None
    embedded: bool = True
    metric: str = 'mIoU'


@dataclass(frozen=True)
class Study:
    """Rows that differ in what their names say, and in nothing else but a tuned learning rate.

    Attributes:
        title: The heading of its page.
        note: What its rows have in common, for the page.
        reference: Name of the row that the others are compared with, seed by seed.
        rows: The lines of the table.
    """

    title: str
    note: str
    reference: str
    rows: Tuple[StudyRow, ...]

    @property
    def metric(self) -> str:
        """That of all rows."""
        (metric,) = {row.metric for row in self.rows}
        return metric


def fusion_options(
    spatial: str = 'learned_weight', semantic: str = 'learned_weight'
) -> Tuple[str, ...]:
    """Options for the fusion modes of both sides, as far as they are not the config's."""
    return tuple(
        f'model.decode_head.{side}_prompts.fusion.mode={mode}'
        for side, mode in (('spatial', spatial), ('semantic', semantic))
        if mode != 'learned_weight'
    )
