"""P1 beyond its networks: MCR, logit adjustment, scores of variants and how they compare."""
