"""A small catalogue of one's own, for tests."""

from pathlib import Path

from PIL import Image

from shoplens.data import registry
from shoplens.data.catalogue import Catalogue

HEADER = "image,layer:root,layer:leaf,attribute:colour"


class Shop:
    """A folder laid out as the README says: ten images of each of two leaves."""

    def __init__(self, folder: Path):
        self.csv, self.images = folder / "products.csv", folder / "images"
        self.header = HEADER
        self.lines = [f"{leaf}/{k}.jpg,{root},{leaf},{'red' if k % 2 else ''}"
                      for root, leaf in (("wear", "shirt"), ("bags", "tote")) for k in range(10)]
        for k, line in enumerate(self.lines):
            self.draw(line.split(",")[0], k)

    def draw(self, name: str, k: int = 0):
        file = self.images / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 9), (20 * k % 256, 90, 200 - 9 * k)).save(file)

    def add_column(self, name: str, cells: list):
        self.header += f",{name}"
        self.lines = [f"{line},{cell}" for line, cell in zip(self.lines, cells, strict=True)]

    def change(self, line: int, old: str, new: str):
        """In the line of that number, as a spreadsheet counts: the header is line 1."""
        assert old in self.lines[line - 2]
        self.lines[line - 2] = self.lines[line - 2].replace(old, new)

    def write(self, encoding="utf-8", separator=",", newline="\n") -> Path:
        text = newline.join([self.header, *self.lines, ""])
        self.csv.write_bytes(text.replace(",", separator).encode(encoding))
        return self.csv

    def prepare(self, **parameters) -> Catalogue:
        self.write()
        return registry.prepare("folder", csv=str(self.csv), images=str(self.images), **parameters)
