"""shoplens: the thin shared library of the study. Import its modules by name, ground floor first:
catalogue, metrics, images, backbones, classifiers, training, figures."""
