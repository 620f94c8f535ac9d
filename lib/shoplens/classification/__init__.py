"""P1 beyond its networks: MCR (§3.3), scores of the variants and how they compare (§4.3), attention maps measured,
and logit adjustment, which is ours."""
