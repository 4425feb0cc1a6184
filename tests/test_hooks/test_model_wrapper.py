"""What several processes do with a model; ``test_end_to_end/test_distributed.py`` starts them."""

from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from mmseg_ssprompt.hooks import PromptDistributedDataParallel


def test_a_model_in_which_nothing_trains_is_not_wrapped():
    model = nn.Linear(2, 2).requires_grad_(False)
    assert PromptDistributedDataParallel(model, device_ids=[0]) is model
    config = dict(type='PromptDistributedDataParallel', find_unused_parameters=False)
    assert MODEL_WRAPPERS.build(config, default_args=dict(module=model)) is model
