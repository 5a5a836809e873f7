"""docs/matrix.md: the largest errors that a run of the whole matrix found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.matrix.cases import BACKENDS, SIMULATED_EVERY, SLOW
from tests.matrix.factors import ALGORITHMS
from tests.support.zoo import FAMILIES, RECIPES

Errors = Mapping[str, Mapping[tuple[str, str], float]]
"""By family, then by algorithm and backend."""

INTRODUCTION = """\
# The matrix

Every algorithm with every option that changes what is computed, on every family of the zoo, through
`TransformerBridge`, nnsight and its simulated server, without padding and with padding on either side, whole and
split, in float64. Each case is compared, every score, with plain autograd or patched runs of the Hugging Face model,
which share no code with this package. An error is the largest difference over the largest score of the model; allowed
is 1e-9. `edge-pruning` and `random` draw random numbers: their error is the difference between backends.

`make coverage` runs every algorithm on every family (`{slow}` on some), and every pair of an algorithm's options and of
the data's on some family. `make test-matrix` has, for each algorithm, every pair of values of family, padding,
splitting and options. All values with all others would be more than a million cases.

This page is of `{target}`: {n_cases} cases, each on `TransformerBridge` and
nnsight, one in {every} on the simulated server, too. It writes the page.

`–` is refused, as it must be: `relp` and halved products in `gim` need the hidden layers of MLPs, which cannot be seen
in a mixture of experts, and frozen norms in `relp` and `gim` a final norm that the unembedding follows. In a selection
it is also `acdc` on the families that are left out.

## By family

The largest error of each algorithm on all backends.
"""


def page(errors: Errors, n_cases: int, full: bool) -> str:
    """Write the whole page.

    Args:
        errors: what was found.
        n_cases: in how many cases.
        full: whether it was the whole matrix.
    """
    target = "make test-matrix" if full else "MATRIX=selection pytest tests/matrix"
    return "\n".join(
        [
            INTRODUCTION.format(target=target, n_cases=f"{n_cases:,}", every=SIMULATED_EVERY, slow=SLOW),
            _row("family", *(f"`{name}`" for name in ALGORITHMS)),
            _row("---", *("---:" for _ in ALGORITHMS)),
            *(
                _row(RECIPES[name].title, *(_of(errors, [name], [a], BACKENDS) for a in ALGORITHMS))
                for name in FAMILIES
            ),
            "\n## By backend\n\nThe largest error on all families.\n",
            _row("algorithm", *BACKENDS),
            _row("---", *("---:" for _ in BACKENDS)),
            *(_row(f"`{a}`", *(_of(errors, FAMILIES, [a], [backend]) for backend in BACKENDS)) for a in ALGORITHMS),
            "",
        ]
    )


def _of(errors: Errors, families: Iterable[str], algorithms: Iterable[str], backends: Iterable[str]) -> str:
    keys = [(algorithm, backend) for algorithm in algorithms for backend in backends]
    found = [errors[name][key] for name in families for key in keys if key in errors[name]]
    return f"{max(found):.0e}" if found else "–"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
