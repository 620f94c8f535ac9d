"""How runs are made and kept: study.yml to checked runs, fingerprints, papermill, publication. A notebook never
imports from here (it uses `shoplens.record`); the command line is `python -m shoplens.run`."""
