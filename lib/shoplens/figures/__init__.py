"""Plots of the study, each drawn from arrays or tables."""
