"""Make a checkpoint for one data set from prompts that were learned on another.

    mmseg-ssprompt prompts transfer SOURCE TARGET_CONFIG --out FILE

Semantic prompts are matched by class name, and the handcrafted prompt stands where there is no
match; spatial prompts are taken as they are. The file is the
checkpoint for a test of TARGET_CONFIG.
"""

import argparse
from pathlib import Path
from typing import Any, Dict

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..datasets.checks import check_classes
from ..models import PromptSegmentor, SSPromptHead
from ..outputs import find_inputs
from ..plain import to_plain
from ..prompt_files.prompt_file import read_prompt_source, write_prompts
from ..prompt_files.transfer import PromptTransferError, TransferReport, transfer_prompts
from ..weights.hub import is_hub_name
from ..weights.prompt_places import find_prompt_file
from .inputs import prepare_outputs, read_config

from mmseg.registry import DATASETS, MODELS  # isort: skip  (after mmseg_ssprompt)


def build_target(cfg: Config, path: Path) -> PromptSegmentor:
    """The model of the target config, with untrained prompts.

    Raises:
        PromptTransferError: If it has no prompts.
    """
    model = MODELS.build(cfg.model)
    if not isinstance(model, PromptSegmentor) or not isinstance(model.decode_head, SSPromptHead):
        head = getattr(model, 'decode_head', None)
        raise PromptTransferError(
            f'config {str(path)!r}: expected a PromptSegmentor with an SSPromptHead, found a '
            f'{type(model).__name__} with a {type(head).__name__}, which has no prompts'
        )
    return model


def make_meta(
    cfg: Config, report: TransferReport, source: str, metainfo: Dict[str, Any]
) -> Dict[str, Any]:
    """The metadata that mmengine's checkpoints have, and what was transferred from where."""
    return dict(
        cfg=cfg.pretty_text,
        dataset_meta=to_plain(dict(metainfo), 'meta.dataset_meta'),
        prompt_transfer=dict(report._asdict(), source=source),
    )


def run(args: argparse.Namespace) -> None:
    """Write the checkpoint, and say what was matched."""
    cfg = read_config(args.target, needs=['model', 'test_dataloader.dataset'])
    file = find_prompt_file(args.source)
    prepare_outputs({'--out': args.out}, find_inputs(cfg, files=[file, args.target]))
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    source = read_prompt_source(file)
    target = build_target(cfg, args.target)
    # Only its classes and palette are needed, so no file of the data set is looked for.
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True))
    check_classes(dataset, target.decode_head.class_names, 'test')
    state_dict, report = transfer_prompts(source, target, args.parts)
    name = args.source if is_hub_name(args.source) else Path(args.source).name
    meta = make_meta(cfg, report, name, dataset.metainfo)
    write_prompts(state_dict, meta, args.out)
    print(f'{report}\n{args.out}')
