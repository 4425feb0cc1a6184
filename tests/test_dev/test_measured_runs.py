"""What pages speak of is taken out of the reports of runs."""

import json

import pytest

from dev import measured_runs
from dev.provenance import describe_code


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(measured_runs, 'RUNS', tmp_path / 'runs.json')
    return tmp_path / 'runs.json'


def test_an_entry_is_kept_beside_others(runs):
    measured_runs.keep(('demo', 'sam', '0'), dict(miou=1.5))
    measured_runs.keep(('demo', 'sam', '1'), dict(miou=2.5))
    measured_runs.keep(('demo', 'sam', '0'), dict(miou=3.5))
    code = describe_code()
    assert json.loads(runs.read_text()) == dict(
        demo=dict(sam={'0': dict(miou=3.5, code=code), '1': dict(miou=2.5, code=code)})
    )


def test_a_complete_demo_is_read_without_what_differs_from_run_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(measured_runs, 'start', lambda *command: pytest.fail(f'{command}'))
    summary = dict(base='sam', seed=0, checkpoint='a.pth', train_seconds=3.5, ssprompt_miou=67.0)
    (tmp_path / 'summary.json').write_text(json.dumps(summary))
    assert measured_runs.run_demo('sam', 'semantic', 0, tmp_path) == dict(ssprompt_miou=67.0)


def test_a_demo_that_is_not_there_is_run(tmp_path, monkeypatch):
    def start(*command):
        assert command[:3] == ('-m', 'mmseg_ssprompt', 'demo')
        assert command[3:9] == ('--base', 'seem', '--task', 'panoptic', '--seed', 3)
        (tmp_path / 'summary.json').write_text('{"ssprompt_pq": 50.0}')

    monkeypatch.setattr(measured_runs, 'start', start)
    assert measured_runs.run_demo('seem', 'panoptic', 3, tmp_path) == dict(ssprompt_pq=50.0)


def test_masks():
    shares = [0.1, 0.4, 0.0, 0.3, 0.2]
    masks = [
        dict(prompt=i, won_share=share, won_class='sky', label='no object' if i else 'sky')
        for i, share in enumerate(shares)
    ]
    found = measured_runs.summarise_masks(masks)
    assert [each['prompt'] for each in found['most_used']] == [1, 3, 4, 0]
    assert found['share_of_3'] == pytest.approx(0.9)
    assert found['share_of_others'] == found['largest_of_others'] == pytest.approx(0.1)
    assert (found['never_winning'], found['mostly_no_object']) == (1, 4)


def test_failures():
    def errors(*shares):
        kinds = ('found', 'wrong label', 'wrong mask', 'missed')
        return {kind: dict(share_of_wrong=share, regions=3) for kind, share in zip(kinds, shares)}

    totals = dict(
        mIoU=50.0,
        mIoU_by_group=dict(things=10.0),
        errors=errors(0.4, 0.3, 0.2, 0.1),
        errors_by_group=dict(things=errors(0.1, 0.2, 0.3, 0.4)),
        outvoted_regions=2,
        classes=[dict(name='tree', errors=errors(0.1, 0.5, 0.15, 0.25))],
    )
    found = measured_runs.summarise_failures(totals)
    assert found['wrong'] == {'found': 0.4, 'wrong label': 0.3, 'wrong mask': 0.2, 'missed': 0.1}
    assert found['wrong_masks_and_missed_in_things'] == pytest.approx(0.7)
    assert found['fitting_in_class']['tree'] == pytest.approx(0.6)


def test_spatial_prompts():
    def token(number, drift, moved, label='positive'):
        return dict(token=number, drift=drift, displacement_pixels=moved, nearest=dict(label=label))

    summary = dict(
        learned=dict(
            mean_cosine_to_nearest=0.9,
            mean_drift_of_each_token=[0.1, 2.0],
            mean_distance_of_each_token=[1.0, 1.1],
        ),
        random=dict(mean_cosine_to_nearest=0.8),
    )
    tokens = [token(0, 0.1, 0.0), token(0, 0.3, 1.4, 'negative'), token(1, 9.0, 9.0)]
    found = measured_runs.summarise_spatial(dict(prompts=tokens, summary=summary))
    assert (found['drift_min'], found['drift_max'], found['displacement_max']) == (0.1, 0.3, 1.4)
    assert (found['at_default_point'], found['moved'], found['positive']) == (1, 1, 1)
