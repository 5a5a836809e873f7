"""How prompts are divided into groups."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from eap_plugin.data.batch import Batch
from eap_plugin.data.prompt_groups import assign_groups, group_weights, members
from tests.support.zoo import prompts

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@given(sizes, st.integers(2, 6))
def test_every_prompt_has_one_group_and_groups_are_even(sizes: list[int], n_groups: int) -> None:
    batches = [Batch(*prompts(size, 4)) for size in sizes]
    grouped = assign_groups(batches, n_groups)
    counts = []
    for before, after in zip(batches, grouped, strict=True):
        assert torch.equal(before.clean, after.clean) and after.groups is not None
        assert bool((after.groups.sum(1) == 1).all())
        counts.append(after.groups.sum(0))
    for count in (*counts, torch.stack(counts).sum(0)):
        assert int(count.max() - count.min()) <= 1
    again = assign_groups(grouped, n_groups)
    assert all(torch.equal(a.groups, b.groups) for a, b in zip(grouped, again, strict=True))  # type: ignore[arg-type]


@given(sizes, st.integers(2, 6))
def test_weights_are_sums_over_prompts(sizes: list[int], n_groups: int) -> None:
    batches = assign_groups([Batch(*prompts(size, 4)) for size in sizes], n_groups)
    expected = torch.zeros(n_groups, 2, dtype=torch.float64)
    for batch in batches:
        for group, rows in (members(batch) or {}).items():
            for _ in rows:
                expected[group] += torch.tensor([1 / len(batch), 1 / len(batch) ** 2], dtype=torch.float64)
    torch.testing.assert_close(group_weights(batches), expected)


def test_prompts_in_order_of_length_are_mixed() -> None:
    (batch,) = assign_groups([Batch(*prompts(64, 4))], 16)
    assert batch.groups is not None
    means = torch.stack([chosen.nonzero().double().mean() for chosen in batch.groups.unbind(1)])
    assert float(means.std()) < 20  # of four random places among 64, 9.2 on average; in order, 19


def test_ungrouped() -> None:
    batches = assign_groups(assign_groups([Batch(*prompts(4, 4))], 2), None)
    assert batches[0].groups is None and members(batches[0]) is None and group_weights(batches) is None
