"""Ranks, against SciPy's."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from eap_plugin.data.ranks import mean_ranks


@given(st.lists(st.sampled_from([-1.5, -1.0, 0.0, 0.25, 1.0, 7.0]), max_size=20))
def test_they_are_those_of_scipy(values: list[float]) -> None:
    assert mean_ranks(torch.tensor(values)).tolist() == rankdata(values).tolist()
