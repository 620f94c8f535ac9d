"""How runs are planned, judged stale, executed, published and verified; `python -m shoplens.study` is the command line."""
