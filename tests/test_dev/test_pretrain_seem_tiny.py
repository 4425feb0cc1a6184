"""The script that trains seem-tiny runs, and its weights are what the docs say they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mmseg_ssprompt
from commands import run_here
from dev.pretrain_seem_tiny import SeemPretraining, parse_args
from dev.sam_tiny.data import normalise
from dev.seem_tiny.model import FRAME, VARIANT, WEIGHTS_NAME, SeemTiny, answers
from mmseg_ssprompt.models.seem import SEEMImageEncoder, SEEMSegmenter, SEEMTextEncoder
from mmseg_ssprompt.models.seem.seem_prompt_encoder import choose_rows

ROOT = Path(__file__).resolve().parents[2]
ASSETS = Path(mmseg_ssprompt.__file__).parent / 'assets'
LOG_NAME = 'seem-tiny_shapes.json'


def make_run(folder, monkeypatch, *options):
    """A run of four steps, which writes its state after the second."""
    arguments = (
        *('--out-dir', folder, '--state', folder / 'state.pth', '--scenes', 6, '--held-out', 2),
        *('--batch-size', 2, '--iters', 4, '--log-every', 1, '--gate-every', 2, '--threads', 1),
    )
    monkeypatch.setattr(sys, 'argv', ['pretrain_seem_tiny', *map(str, (*arguments, *options))])
    return SeemPretraining(parse_args())


def read_log(folder):
    return json.loads((folder / LOG_NAME).read_text())


def load(folder):
    return torch.load(folder / WEIGHTS_NAME, weights_only=True)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of a whole run, and the run."""
    folder = tmp_path_factory.mktemp('seem')
    with pytest.MonkeyPatch.context() as monkeypatch:
        run = make_run(folder, monkeypatch)
        run.run()
    return folder, run


def test_a_few_steps(trained):
    folder, _ = trained
    log = read_log(folder)
    assert [entry['step'] for entry in log['losses']] == [1, 2, 3, 4]
    assert [entry['step'] for entry in log['gates']] == [2, 4]
    assert log['passed'] is False
    assert not (folder / 'state.pth').exists()


def test_everything_trains_but_for_second_clicks(trained):
    _, run = trained
    start = dict(make_start().named_parameters())
    still = [name for name, p in run.model.named_parameters() if torch.equal(p, start[name])]
    assert sorted(still) == ['prompts.spatial_embed.weight', 'prompts.spatial_featured.weight']


def make_start():
    torch.manual_seed(0)
    return SeemTiny()


def test_an_interrupted_run_goes_on_as_if_it_was_not(trained, tmp_path, monkeypatch):
    class Interrupted(Exception):
        pass

    run = make_run(tmp_path, monkeypatch)
    keep = run._keep

    def keep_and_stop(*args):
        keep(*args)
        raise Interrupted

    monkeypatch.setattr(run, '_keep', keep_and_stop)
    with pytest.raises(Interrupted):
        run.run()
    assert [entry['step'] for entry in read_log(tmp_path)['losses']] == [1, 2]
    make_run(tmp_path, monkeypatch, '--resume').run()
    expected = load(trained[0])
    assert all(torch.equal(tensor, expected[key]) for key, tensor in load(tmp_path).items())
    logs = [read_log(folder)['losses'] for folder in (tmp_path, trained[0])]
    assert [{**e, 'seconds': 0} for e in logs[0]] == [{**e, 'seconds': 0} for e in logs[1]]


@torch.no_grad()
def test_the_package_computes_what_was_trained(trained):
    """Masks, classes and texts of the frozen parts that load the file."""
    folder, run = trained
    file = folder / WEIGHTS_NAME
    model = SeemTiny()
    model.load(folder)  # rounded to float16
    run.model = model
    encoder, segmenter = SEEMImageEncoder(VARIANT, file), SEEMSegmenter(VARIANT, file)
    texts = SEEMTextEncoder(VARIANT, file).encode(run.world.classes)
    text = run.class_embeddings()
    torch.testing.assert_close(texts, text[:-1])
    torch.testing.assert_close(segmenter.no_object(), text[-1])

    images = normalise(run.held_out.images)
    features = model.encode_image(images)
    enlarged = torch.nn.functional.interpolate(images, (FRAME, FRAME), mode='bilinear')
    decoded = segmenter.decode(encoder(enlarged), segmenter.default_prompts())
    out = model.find_objects(features)[-1]
    torch.testing.assert_close(decoded.mask_logits, model.masks(out, features))
    torch.testing.assert_close(decoded.class_embeddings @ text.t(), model.classify(out, text))

    points = torch.tensor([[0.2, 0.3], [0.7, 0.9]])
    decoded = segmenter.decode(features, segmenter.encode_points(points, features))
    rows = choose_rows(2 * model.queries_per_prompt, model.num_queries)
    clicked = model.find_clicked(features, points.expand(len(images), -1, -1), rows)
    masks, tokens = answers(clicked[-1])
    torch.testing.assert_close(decoded.mask_logits, masks)
    torch.testing.assert_close(decoded.tokens, tokens)


def test_weights_are_small_and_finite(trained):
    assert (ASSETS / WEIGHTS_NAME).stat().st_size <= 7e6
    kept, fresh = load(ASSETS), load(trained[0])
    assert {k: v.shape for k, v in kept.items()} == {k: v.shape for k, v in fresh.items()}
    for key, tensor in kept.items():
        assert tensor.dtype == torch.float16, key
        assert tensor.isfinite().all(), key


def test_log_says_that_the_gate_was_passed():
    log = read_log(ASSETS)
    assert log['passed'] is True
    assert log['gates'][-1]['miou'] >= 75


def test_the_page_has_the_figures_of_the_log():
    page = (ROOT / 'docs' / 'sam-tiny.md').read_text(encoding='utf-8')
    log = read_log(ASSETS)
    last = log['gates'][-1]
    for name, prefix in (("SEEM's own queries", ''), ('a grid of 64 clicks', 'grid_')):
        cells = [f'{last[prefix + kind]:.1f}' for kind in ('miou', 'things', 'stuff')]
        assert f'| {" | ".join([name, *cells])} |' in page
    minutes = round(last['seconds'] / 60)
    assert f'After {last["step"]:,} steps, {minutes}\nminutes' in page


@pytest.mark.slow
@pytest.mark.parametrize('held_out', [200])
def test_gate(held_out, capsys):
    run_here('dev.pretrain_seem_tiny', '--out-dir', ASSETS, '--evaluate', '--held-out', held_out)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures['miou'] >= 75


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize('seed', range(5))
def test_learned_prompts_gain_on_the_shifted_world(seed, tmp_path):
    command = [sys.executable, '-m', 'mmseg_ssprompt', 'demo', '--base', 'seem', '--seed', seed]
    subprocess.run([*map(str, command)], cwd=tmp_path, check=True, timeout=800)
    summary = json.loads((tmp_path / 'work_dirs' / 'demo_seem' / 'summary.json').read_text())
    assert summary['ssprompt_miou'] >= summary['zero_shot_miou'] + 12
