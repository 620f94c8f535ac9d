"""How runs are planned, judged stale, executed, published and verified. See `python -m shoplens.study -h`."""
