"""Do edge scores mean anything on a model? The report, and what it is made of."""
