"""The table of claims on both base models is the one that the studies give."""

import json

import pytest

from dev import bases_page
from dev.studies.definitions import STUDIES

ROWS = dict(better=[60.0, 61.0, 62.0], same=[50.0, 49.0, 51.0], other=[50.0, 50.0, 50.0])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A study of SAM alone, and three claims on it."""
    rows = [dict(name=name, miou=miou) for name, miou in ROWS.items()]
    (tmp_path / 'components.json').write_text(json.dumps(dict(rows=rows)))
    same, other = (dict.fromkeys(bases_page.BASES, name) for name in ('same', 'other'))
    better = dict.fromkeys(bases_page.BASES, 'better')
    pairs = ((better, other), (same, other), (other, better))
    claims = [bases_page.Claim('a claim', 'components', *pair) for pair in pairs]
    monkeypatch.setattr(bases_page, 'CLAIMS', claims)
    return tmp_path


def test_verdicts(folder):
    cells = [line.split(' | ')[1:] for line in bases_page.format_claims(folder).splitlines()[2:]]
    # t(0.975, 2) = 4.3027, times the standard error 1 / sqrt(3)
    assert cells == [
        ['yes: +11.0 ± 2.5', ' |'],
        ['**not shown**: +0.0 ± 2.5', ' |'],
        ['**no, worse**: -11.0 ± 2.5', ' |'],
    ]


def test_every_claim_names_rows_of_its_study():
    for claim in bases_page.CLAIMS:
        for base, end in bases_page.BASES.items():
            names = {row.name for row in STUDIES[claim.study + end].rows}
            assert {claim.rows[base], claim.than[base]} <= names, claim.text
