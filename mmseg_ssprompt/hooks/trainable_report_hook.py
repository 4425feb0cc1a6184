"""Says at the start of training what trains."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from ..main_process import unwrap_model

__all__ = ['TrainableReportHook', 'describe_trainable']


@HOOKS.register_module()
class TrainableReportHook(Hook):
    """Logs each trainable tensor with its shape, their total, and the frozen total."""

    def before_train(self, runner: Runner) -> None:
        """Log the report."""
        runner.logger.info(describe_trainable(unwrap_model(runner.model)))


def describe_trainable(model: nn.Module) -> str:
    """One line for each trainable tensor, then the totals."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = sum(p.numel() for p in trainable.values())
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    lines = [f'  {name}: {tuple(p.shape)}' for name, p in trainable.items()]
    head = f'Trainable: {total:,} parameters in {len(trainable)} tensors; frozen: {frozen:,}'
    return '\n'.join([head, *lines])
