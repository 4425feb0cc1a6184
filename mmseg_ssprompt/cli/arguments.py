"""What ``train.py``, ``test.py`` and ``cache`` make of mmseg's arguments, and CPU processes."""

import argparse
import logging
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Mapping, Optional, Sequence

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..files import check_writable
from ..hooks.config_checks import check_config
from ..hooks.missing_files import check_files
from ..outputs import Inputs, check_outputs, find_inputs, find_outputs
from .inputs import prepare_outputs, read_config

__all__ = [
    'check_before_building',
    'end_process',
    'is_first_process',
    'load_config',
]


def load_config(
    args: argparse.Namespace,
    needs: Sequence[str] = ('model',),
    outputs: Optional[Mapping[str, Optional[Path]]] = None,
) -> Config:
    """Read the config, apply the arguments of :func:`add_run_arguments`, and look where they write.

    Args:
        args: Of the command line.
        needs: As for ``read_config``.
        outputs: Folders that are written into besides the ``work_dir`` and those of the config,
            by the names of the arguments. They have to be new or empty, unless
            ``args.overwrite`` is set.

    Raises:
        FileNotFoundError: As ``read_config``.
        ConfigError: As ``read_config``.
        OutputError: If something that is read, or of another run, would be overwritten.
        OSError: If a folder cannot be written into.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options, needs)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    inputs = find_inputs(cfg, files=[args.config, getattr(args, 'checkpoint', None)])
    check_outputs(find_outputs(cfg), inputs)
    # Other processes may see what the first has already written.
    overwrite = getattr(args, 'overwrite', True) or not is_first_process()
    prepare_outputs(outputs or {}, inputs, outputs or (), overwrite)
    check_writable(Path(cfg.work_dir))
    cfg = _without_own_name(cfg, inputs)
    if cfg.launcher == 'slurm':
        os.environ.setdefault('MASTER_PORT', str(slurm_port()))
    if cfg.launcher != 'none':
        cfg.setdefault(
            'model_wrapper_cfg',
            dict(
                type='PromptDistributedDataParallel',
                broadcast_buffers=False,  # as in mmengine's own runner
                find_unused_parameters=cfg.get('find_unused_parameters', False),
            ),
        )
    if cfg.launcher in ('pytorch', 'slurm') and not torch.cuda.is_available():
        _distribute_on_cpu(cfg)
    return cfg


def check_before_building(cfg: Config, *splits: str) -> None:
    """Name what is missing and what contradicts itself, before a model is built.

    Args:
        cfg: All arguments are applied.
        *splits: Which of 'train', 'val' and 'test' run.

    Raises:
        FileNotFoundError: With all files and folders that are not there.
        DatasetError: With the keys of the config that contradict each other.
    """
    check_files(cfg, splits)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    check_config(cfg, splits)


def _without_own_name(cfg: Config, inputs: Inputs) -> Config:
    """Let mmengine not write the config over itself or over one of its bases.

    Runner writes what is in force into the ``work_dir``, under the name of the config's file; of
    a config without a file it makes a name of the time.
    """
    written = Path(cfg.work_dir) / Path(cfg.filename).name
    if inputs.find_problem(written) is None:
        return cfg
    return Config(cfg.to_dict())


def is_first_process() -> bool:
    """Whether this process has rank 0, which its launcher has said before any group is made."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))) == 0


def slurm_port() -> int:
    """A port that all tasks of a job step agree on, and other jobs on the node do not use.

    mmengine takes 29500 for each. The range ends below the one that Linux gives away itself.
    """
    job, step = (int(os.environ.get(f'SLURM_{name}_ID', 0)) for name in ('JOB', 'STEP'))
    return 10000 + (16 * job + step) % 20000


def _distribute_on_cpu(cfg: Config) -> None:
    """Let the processes of torchrun and srun work without GPUs; mmengine asks for one in each.

    ``mmengine.dist.init_dist`` calls ``torch.cuda.set_device``, and ``Runner.wrap_model`` gives
    the wrapper a device; a process group that is there already, and a wrapper without devices,
    avoid both.
    """
    if cfg.launcher == 'slurm':
        _export_slurm_ranks()
    seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)  # torch's own default
    torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=seconds))
    cfg.model_wrapper_cfg.device_ids = None


def _export_slurm_ranks() -> None:
    """Say in torch's variables what slurm says in its own, as ``mmengine.dist`` does."""
    for name, source in (('RANK', 'PROCID'), ('LOCAL_RANK', 'LOCALID'), ('WORLD_SIZE', 'NTASKS')):
        os.environ[name] = os.environ[f'SLURM_{source}']
    if 'MASTER_ADDR' not in os.environ:
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        os.environ['MASTER_ADDR'] = subprocess.check_output(command, text=True).split()[0]


def end_process(status: int = 0) -> None:
    """End a process of a distributed run on CPUs when its work is done.

    Gloo's threads now and then abort the interpreter while it is taken down ("terminate called
    without an active exception"), and the launcher takes a finished run for a failed one.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == 'gloo':
        torch.distributed.barrier()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
