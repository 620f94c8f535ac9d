"""Runs notebooks as a student would, cell after cell, and prints what each raised, as JSON. Called by a test."""

import json
import sys
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

raised = {}
for file in sys.argv[1:]:
    with open(file, encoding="utf-8") as text:
        cells = [cell for cell in json.load(text)["cells"] if cell["cell_type"] == "code"]
    space, errors, slowest = {"__name__": "__main__"}, [], 0.0
    for cell in cells:
        started = time.monotonic()
        try:
            exec("".join(cell["source"]), space)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
        slowest = max(slowest, time.monotonic() - started)
    plt.close("all")
    raised[file] = {"errors": errors, "slowest": slowest}
heavy = {"shoplens", "torch", "faiss", "scipy", "sklearn", "pandas"} & {name.split(".")[0] for name in sys.modules}
print(json.dumps({"raised": raised, "heavy": sorted(heavy)}))
