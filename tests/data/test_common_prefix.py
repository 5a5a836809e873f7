"""Microbatches that share prefixes: every pair once, at the least cost."""

from __future__ import annotations

from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eap_plugin.data.batch import Batch
from eap_plugin.data.common_prefix import PassCost, common_positions, split_by_prefix
from eap_plugin.data.microbatches import Microbatch, split_microbatches
from tests.support.alike import alike

N_POS = 9


def batch(first: list[int]) -> Batch:
    """Make pairs that differ from the given positions on; the first answer is the number of the pair."""
    clean = torch.zeros(len(first), N_POS, dtype=torch.long)
    corrupt = (torch.arange(N_POS) >= torch.tensor(first)[:, None]).long()
    return Batch(clean, corrupt, torch.arange(len(first))[:, None], clean[:, :1])


def test_common_positions() -> None:
    """Where they agree, but not where logits are needed: the third pair's last token is its sixth."""
    assert common_positions(alike(padded=False)).tolist() == [5, 3, 5, 6, 2, 5]
    assert common_positions(alike(padded=True)).tolist() == [5, 3, 5, 6, 2, 5]
    assert common_positions(batch([N_POS, 0])).tolist() == [N_POS - 1, 0]


@given(
    st.lists(st.integers(0, N_POS), min_size=1, max_size=9),
    st.none() | st.integers(1, 5),
    st.builds(PassCost, st.integers(1, 6), st.integers(0, 40)),
)
@settings(deadline=None)
def test_every_pair_is_run_once_and_costs_no_more_than_without_prefixes(
    first: list[int], size: int | None, cost: PassCost
) -> None:
    whole = [Microbatch(batch(first), 0.5)]
    parts = split_by_prefix(whole, size, cost)
    pairs = [row for part in parts for row in part.batch.answers[:, 0].tolist()]
    assert sorted(pairs) == list(range(len(first)))
    assert sum(part.share for part in parts) == pytest.approx(0.5)
    for part in parts:
        assert part.share == pytest.approx(0.5 * len(part.batch) / len(first))
        assert len(part.batch) <= (size or len(first))
        assert part.n_prefix in (0, int(common_positions(part.batch).min()))
    assert cost.total(parts) <= cost.total(split_microbatches(whole, size))
    if not any(part.n_prefix for part in parts) and len(parts) == 1:
        assert parts[0].batch is whole[0].batch


@given(
    st.lists(st.integers(0, N_POS), min_size=1, max_size=7),
    st.builds(PassCost, st.integers(1, 6), st.integers(0, 40)),
)
@settings(deadline=None, max_examples=50)
def test_no_other_cut_costs_less(first: list[int], cost: PassCost) -> None:
    """Compared with all ways to cut the sorted pairs, with a prefix or without."""
    found = cost.total(split_by_prefix([Microbatch(batch(first), 1.0)], None, cost))
    common, n = sorted(min(position, N_POS - 1) for position in first), len(first)
    for cuts in range(2 ** (n - 1)):
        ends = [0, *(i + 1 for i in range(n - 1) if cuts >> i & 1), n]
        groups = [common[start:stop] for start, stop in pairwise(ends)]
        total = sum(min(cost.of(len(g), N_POS, k) for k in (0, g[0])) for g in groups)
        assert found <= total
    assert list(chain(*groups)) == common


def test_a_cheap_pass_makes_more_microbatches() -> None:
    whole = [Microbatch(alike(padded=False), 1.0)]
    for overhead, expected in ((0, [2, 3, 5, 6]), (3, [2, 5]), (30, [0])):
        assert [part.n_prefix for part in split_by_prefix(whole, None, PassCost(3, overhead))] == expected, overhead
