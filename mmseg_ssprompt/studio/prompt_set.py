"""Prompts that the studio shows, and the classes that they have under other names."""

from typing import NamedTuple, Optional, Sequence, Tuple

from ..fitting.colours import class_colours
from ..label_ids import LabelIds, resolve_label_ids, with_rest
from ..models.heads import SSPromptHead
from ..models.prompts import PromptFusion, SemanticPromptLearner
from ..prediction.predictor import Predictor
from ..prompt_files.transfer import match_classes
from .look import Look, StudioError
from .segmenting import Naming

__all__ = ['PromptSet']


class PromptSet(NamedTuple):
    """Prompts of a file, or those of a config.

    Attributes:
        name: Of the file.
        head: The head that has them.
        classes: Names by the numbers in label maps.
        palette: Colours by the numbers in label maps.
    """

    name: str
    head: SSPromptHead
    classes: Tuple[str, ...]
    palette: Sequence[Sequence[int]]

    @classmethod
    def of(cls, name: str, predictor: Predictor) -> 'PromptSet':
        """The prompts of a model."""
        return cls(name, predictor.model.decode_head, predictor.classes, predictor.palette)

    @property
    def can_rename(self) -> bool:
        """Whether other class names can be tried."""
        return isinstance(self.head.semantic_prompts, SemanticPromptLearner)

    def trust(self, kind: str) -> Optional[float]:
        """The mean of the learned weights of 'spatial' or 'semantic' prompts; None without any."""
        fusion = getattr(getattr(self.head, f'{kind}_prompts'), 'fusion', None)
        if not isinstance(fusion, PromptFusion) or fusion.mode == 'default_only':
            return None
        return float(fusion.weight.detach().mean())

    def naming(self, look: Look) -> Naming:
        """The classes of the prompts under a look.

        Raises:
            StudioError: If names cannot be changed.
        """
        head, trained = self.head, tuple(self.head.class_names)
        colours = {name: self.palette[n] for name, n in zip(trained, head.label_ids.classes)}
        things = tuple(head.things or ())
        is_learned = not self.can_rename or self.trust('semantic') is not None
        if look.names is None or look.names == trained:
            learned = (is_learned,) * len(trained)
            label_ids: LabelIds = head.label_ids
            return Naming(trained, learned, label_ids, self.classes, self.palette, things)
        if not self.can_rename:
            raise StudioError(
                f'The class names of {self.name} cannot be changed: its semantic prompts are '
                f'{type(head.semantic_prompts).__name__}, which is made for its own names.'
            )
        names = look.names
        matched = match_classes(trained, names)
        free = [c for c in class_colours(len(names) + len(trained)) if c not in colours.values()]
        palette = [
            list(colours[trained[matched[row]]]) if row in matched else free.pop(0)
            for row in range(len(names))
        ]
        label_ids = resolve_label_ids(len(names), rest_id=0 if len(names) == 1 else None)
        meta = with_rest(dict(classes=names, palette=palette), label_ids)
        learned = tuple(row in matched and is_learned for row in range(len(names)))
        own_things = tuple(row for row, from_row in matched.items() if from_row in things)
        return Naming(
            names, learned, label_ids, tuple(meta['classes']), meta['palette'], own_things
        )
