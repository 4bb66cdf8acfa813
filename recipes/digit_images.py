"""Writes ten handwritten digits, dark on bright paper, as PNG files: one of each class of scikit-learn's digits."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
digits = load_digits()
for digit in range(10):
    image = digits.images[np.flatnonzero(digits.target == digit)[-1]]  # 8 x 8, 0 to 16, bright on dark
    paper = Image.fromarray((255 - image * 255 / 16).astype(np.uint8)).resize((80, 80), Image.Resampling.BICUBIC)
    framed = Image.new("L", (112, 112), 255)
    framed.paste(paper, (16, 16))
    framed.save(folder / f"{digit}.png")
