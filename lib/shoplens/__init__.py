"""shoplens: the thin shared library of the study. Import its modules by name, ground floor first:
paths, data, models, statistics, classification and search, figures, study, report."""
