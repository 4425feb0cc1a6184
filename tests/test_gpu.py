"""What the rest of the suite shows on CPUs, on a GPU: the same numbers, and the tools.

``make gpu`` runs it, with the benchmarks; ``make test`` hides GPUs.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from mmseg.registry import MODELS
from torch import Tensor, nn

import tiny_model
from mmseg_ssprompt.analysis.complexity.measuring import (
    describe_machine,
    measure_peak,
    measure_seconds,
)
from mmseg_ssprompt.models.losses import mask_classification_loss
from mmseg_ssprompt.models.losses.point_sampling import draw_labelled_points
from mmseg_ssprompt.models.sam.mask_decoder import SAMMaskDecoder
from mmseg_ssprompt.models.sam.sam_image_encoder import SAMImageEncoder
from official_sam import randomised_sam
from test_end_to_end.tools import CONFIGS, ROOT, free_port, read_metrics, run, run_tool

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU and make gpu'),
    pytest.mark.filterwarnings('ignore:.*torch.cuda.amp.autocast:FutureWarning'),
    pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning'),
]
CONFIG = CONFIGS / 'ssprompt_sam-tiny_shapes.py'
SMALL = [
    '--cfg-options',
    'train_cfg.max_iters=20',
    'train_cfg.val_interval=20',
    'train_dataloader.dataset.num_images=8',
    'train_dataloader.batch_size=4',
    'val_dataloader.dataset.num_images=8',
    'test_dataloader.dataset.num_images=8',
    'default_hooks.checkpoint.interval=10',
    'default_hooks.checkpoint.max_keep_ckpts=-1',
    'default_hooks.logger.interval=5',
]
MODELS_BY_CONFIG = ('ssprompt_sam-tiny_shapes.py', 'ssprompt_sam-clip-tiny_shapes.py')


@pytest.fixture
def full_precision():
    """TF32, which cuDNN takes for convolutions by default, keeps ten bits of a number."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def same_points(monkeypatch):
    """Points of the losses are drawn on the CPU: the generators of devices differ."""

    def draw(label_maps: Tensor, *args: int) -> Tuple[Tensor, ...]:
        drawn = draw_labelled_points(label_maps.cpu(), *args)
        return tuple(tensor.to(label_maps.device) for tensor in drawn)

    monkeypatch.setattr(mask_classification_loss, 'draw_labelled_points', draw)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Of the difference's norm."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return ((found - expected).norm() / expected.norm()).item()


def build(config: str, **head: Any) -> nn.Module:
    """A shipped model on the CPU, with scores kept."""
    cfg = Config.fromfile(CONFIGS / config).model
    cfg.decode_head.update(head)
    cfg.test_cfg.logits = True
    torch.manual_seed(0)
    return MODELS.build(cfg).eval()


def losses_and_gradients(model: nn.Module, device: str) -> Tuple[Dict[str, Tensor], List[Tensor]]:
    """Of one step on two images; the model stays on ``device``."""
    model = model.to(device).train()
    samples = tiny_model.samples_of(tiny_model.random_labels().to(device))
    torch.manual_seed(0)
    losses = model(tiny_model.random_images().to(device), samples, mode='loss')
    trained = [p for p in model.parameters() if p.requires_grad]
    total = sum(value for key, value in losses.items() if 'loss' in key)
    return losses, list(torch.autograd.grad(total, trained))


@pytest.mark.parametrize(
    ('dtype', 'tolerance'), [(None, 1e-5), ('float16', 0.01), ('bfloat16', 0.05)]
)
@pytest.mark.parametrize('variant', ['tiny', 'vit_b'])
def test_image_encoder_is_the_official_one(variant, dtype, tolerance, full_precision):
    sam = randomised_sam(variant).eval().requires_grad_(False).cuda()
    encoder = SAMImageEncoder(variant, dtype=dtype).cuda()
    encoder.model.load_state_dict(sam.image_encoder.state_dict())
    images = torch.randn(2, 3, sam.image_encoder.img_size, sam.image_encoder.img_size).cuda()
    found = encoder(images).embedding
    assert found.is_cuda and found.dtype == torch.float32
    assert relative_error(found, sam.image_encoder(images)) < tolerance


def test_compiled_image_encoder(full_precision):
    encoder, compiled = (SAMImageEncoder('tiny', compile=on).cuda() for on in (False, True))
    compiled.model.load_state_dict(encoder.model.state_dict())
    images = torch.randn(2, 3, 96, 96).cuda()
    assert relative_error(compiled(images).embedding, encoder(images).embedding) < 1e-5


@pytest.mark.parametrize('variant', ['tiny', 'vit_b'])
def test_decoding_is_the_official_one(variant, full_precision):
    """Independent decoding of many prompts, and joint decoding of one with all mask tokens."""
    sam = randomised_sam(variant).eval().requires_grad_(False).cuda()
    prompt_encoder = sam.prompt_encoder
    side, (rows, columns) = sam.image_encoder.img_size, prompt_encoder.image_embedding_size
    image = torch.randn(1, prompt_encoder.embed_dim, rows, columns).cuda()
    points = side * torch.rand(20, 1, 2).cuda()
    sparse, _ = prompt_encoder((points, torch.ones(20, 1).cuda()), None, None)
    _, dense = prompt_encoder(None, None, None)
    pe = prompt_encoder.get_dense_pe()
    decoder = SAMMaskDecoder(variant).cuda()
    decoder.decoder.load_state_dict(sam.mask_decoder.state_dict())
    for decoding, prompts in (('independent', sparse), ('joint', sparse[:1])):
        decoder.decoding, decoder.carry_all_tokens = decoding, decoding == 'joint'
        found = decoder(image, pe, prompts, dense)
        masks, iou = sam.mask_decoder(image, pe, prompts, dense, multimask_output=False)
        assert relative_error(found.mask_logits[0], masks[:, 0]) < 1e-5, decoding
        assert relative_error(found.quality[0], iou[:, 0]) < 1e-5, decoding


@pytest.mark.parametrize('config', MODELS_BY_CONFIG)
def test_predictions_are_those_of_the_cpu(config, full_precision):
    model = build(config)
    images, labels = tiny_model.random_images(), tiny_model.random_labels()
    samples = partial(tiny_model.samples_of, labels)
    expected = model(images, samples(), mode='predict')
    found = model.cuda()(images.cuda(), samples(), mode='predict')
    for sample, reference in zip(found, expected):
        assert relative_error(sample.seg_logits.data, reference.seg_logits.data) < 1e-4
        labels_agree = sample.pred_sem_seg.data.cpu() == reference.pred_sem_seg.data
        assert labels_agree.float().mean() > 0.999


@pytest.mark.parametrize('config', MODELS_BY_CONFIG)
def test_losses_and_gradients_are_those_of_the_cpu(config, full_precision, same_points):
    model = build(config)
    expected, expected_gradients = losses_and_gradients(model, 'cpu')
    found, gradients = losses_and_gradients(model, 'cuda')
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-4), name
    # 1e-3 is what a change of 1e-5 in the images makes of them on the CPU alone.
    for gradient, reference in zip(gradients, expected_gradients):
        assert relative_error(gradient, reference) < 0.01


@pytest.mark.parametrize(
    ('dtype', 'tolerance', 'tolerance_of_gradients'),
    [('float16', 2e-3, 0.03), ('bfloat16', 2e-2, 0.15)],
)
def test_mixed_precision_is_near_float32(dtype, tolerance, tolerance_of_gradients, same_points):
    model = build(CONFIG.name)
    expected, expected_gradients = losses_and_gradients(model, 'cuda')
    settings = dict(type='PromptAmpOptimWrapper', dtype=dtype, optimizer=dict(type='SGD', lr=1.0))
    wrapper = build_optim_wrapper(model, settings)
    assert isinstance(wrapper, AmpOptimWrapper)
    with wrapper.optim_context(model):
        found, gradients = losses_and_gradients(model, 'cuda')
    for name, value in expected.items():
        if 'loss' in name:
            assert found[name].item() == pytest.approx(value.item(), rel=tolerance), name
    for gradient, reference in zip(gradients, expected_gradients):
        assert gradient.dtype == torch.float32
        assert relative_error(gradient, reference) < tolerance_of_gradients


def steps(model: nn.Module, **wrapper: Any) -> Tuple[List[Dict[str, float]], List[Tensor]]:
    """Losses of steps on a GPU, one of them of a smaller batch, and what was trained."""
    model = model.cuda().train()
    kind = 'PromptAmpOptimWrapper' if 'dtype' in wrapper else 'OptimWrapper'
    optimizer = dict(type='AdamW', lr=1e-3, fused=wrapper.pop('fused', False))
    optimizer = build_optim_wrapper(model, dict(type=kind, optimizer=optimizer, **wrapper))
    counts, found = (2, 2, 1, 2, 2, 2, 2, 2), []
    optimizer.initialize_count_status(model, 0, len(counts))
    for seed, count in enumerate(counts):
        samples = tiny_model.samples_of(tiny_model.random_labels(count).cuda())
        torch.manual_seed(seed)
        with optimizer.optim_context(model):
            losses = model(tiny_model.random_images(count, seed).cuda(), samples, mode='loss')
        losses = {name: value for name, value in losses.items() if 'loss' in name}
        optimizer.update_params(sum(losses.values()))
        found.append({name: value.item() for name, value in losses.items()})
        if seed == 4:  # a validation
            model.eval()(tiny_model.random_images().cuda(), mode='tensor')
            model.train()
    return found, [p.detach().clone() for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize(
    'wrapper', [dict(), dict(fused=True), dict(accumulative_counts=2), dict(dtype='bfloat16')]
)
@pytest.mark.parametrize('config', [CONFIG.name, 'ssprompt_seem-tiny_shapes.py'])
def test_compiled_steps_are_those_without_it(config, wrapper, full_precision, same_points):
    """CUDA graphs of the forward and backward pass, replayed from the third step on."""
    torch._dynamo.reset()
    losses, trained = steps(build(config, compile=True), **wrapper)
    plain = {name: value for name, value in wrapper.items() if name != 'fused'}
    expected_losses, expected = steps(build(config), **plain)
    tolerance = 0.05 if 'dtype' in wrapper else 1e-3
    for step, expected_step in zip(losses, expected_losses):
        assert step == pytest.approx(expected_step, rel=tolerance)
    if 'dtype' not in wrapper:
        for tensor, reference in zip(trained, expected):
            assert relative_error(tensor, reference) < 1e-3


def train(folder: Path, *arguments: str) -> Path:
    """Train as :data:`SMALL` says; the last checkpoint."""
    arguments = (CONFIG, '--work-dir', folder, *SMALL, *arguments)
    assert 'Iter(train) [20/20]' in run_tool('train.py', *arguments, cwd=folder)
    return folder / 'iter_20.pth'


def miou(checkpoint: Path, folder: Path, **environment: str) -> float:
    """Of the test tool."""
    arguments = (CONFIG, checkpoint, '--work-dir', folder, *SMALL)
    run_tool('test.py', *arguments, cwd=checkpoint.parent, **environment)
    return read_metrics(folder)['mIoU']


@pytest.mark.parametrize(
    'amp',
    [
        *([], ['--amp'], ['optim_wrapper.dtype=bfloat16', '--amp']),
        ['model.decode_head.compile=True'],
    ],
)
def test_training_resumes(tmp_path, amp):
    whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'
    whole.mkdir()
    expected = train(whole, *amp)
    shutil.copytree(whole, resumed, ignore=shutil.ignore_patterns('iter_20.pth', 'last_*'))
    found = train(resumed, *amp, '--resume')
    states = [torch.load(file, weights_only=True)['state_dict'] for file in (found, expected)]
    for name, tensor in states[1].items():
        torch.testing.assert_close(states[0][name], tensor, rtol=0.02, atol=0.02)


def test_prompts_are_tested_anywhere(tmp_path):
    (tmp_path / 'train').mkdir()
    trained = train(tmp_path / 'train')
    on_gpu = miou(trained, tmp_path / 'gpu')
    on_cpu = miou(trained, tmp_path / 'cpu', CUDA_VISIBLE_DEVICES='')
    assert on_gpu == pytest.approx(on_cpu, abs=0.3)


def test_nccl(tmp_path):
    """One process, as there is one GPU: the launcher, the wrapper and the collectives."""
    environment = dict(PORT=free_port())
    tools = ROOT / 'tools'
    command = ('bash', tools / 'dist_train.sh', CONFIG, 1, '--work-dir', tmp_path, *SMALL)
    output = run(*command, cwd=tmp_path, **environment)
    assert 'Distributed training: True' in output and 'Iter(train) [20/20]' in output
    checkpoint = tmp_path / 'iter_20.pth'
    command = ('bash', tools / 'dist_test.sh', CONFIG, checkpoint, 1, *SMALL)
    assert 'mIoU' in run(*command, cwd=tmp_path, **environment)


def test_an_embedding_cache_made_on_the_gpu_serves_both(tmp_path):
    config = CONFIGS / 'ssprompt_sam-tiny_shapes_cached.py'
    small = [option.replace('dataset.num', 'dataset.dataset.num') for option in SMALL]
    run_tool('cache', config, *small, cwd=tmp_path)
    for devices in ({}, dict(CUDA_VISIBLE_DEVICES='')):
        folder = tmp_path / f'run_{len(devices)}'
        run_tool('train.py', config, '--work-dir', folder, *small, cwd=tmp_path, **devices)
        assert (folder / 'iter_20.pth').is_file()


def test_peaks_and_seconds():
    device = torch.device('cuda')
    held = torch.ones(1_000_000, device=device)
    run = lambda: torch.ones(64_000_000, dtype=torch.uint8, device=device)  # noqa: E731
    assert measure_peak(run, device) == pytest.approx(0.064, rel=0.05)
    assert measure_seconds(lambda: torch.cuda._sleep(10_000_000), device) > 1e-3
    assert describe_machine('cuda')['device'] == torch.cuda.get_device_name() and len(held)
