"""Hypothesis tests of what a circuit is claimed to be (Shi et al. 2024, arXiv 2410.13032).

Five tests, each a function of per-prompt scores (values of the metric) that patched runs give:

1. *Sufficiency*: the circuit alone is closer to the model than most random circuits of its size.
2. *Necessity*: the model without the circuit is further from the model than without most random circuits of its size.
3. *Minimality*: every edge of the circuit matters more than most random edges that are added to it.
4. *Equivalence*: circuit and model have about the same chance of the higher score on a prompt.
5. *Independence*: the scores of the model without the circuit tell nothing about the model's own.

In the first two, the null hypothesis is that the circuit fails, so rejecting it is evidence for the circuit. In the
other three, it is that the circuit passes, so rejecting it is evidence against, and not rejecting it proves nothing.
"""
