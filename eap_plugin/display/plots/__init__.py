"""Figures of scores, circuits and evaluations, one file for each kind; drawn with matplotlib, without pyplot."""
