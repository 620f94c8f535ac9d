"""Networks of both papers: backbones, attention (P1 §3.2), multitask branches (P1 §3.4), NetVLAD (P2 §3.1)."""
