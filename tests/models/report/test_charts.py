"""What charts show, read from the figures."""

import numpy as np
from matplotlib.figure import Figure

from fmnist_models.report.charts import draw_matrix


def test_confusions_are_shaded_by_their_share_of_the_true_class() -> None:
    axes = Figure().subplots()
    draw_matrix(axes, np.array([[90, 10], [1, 1]]), ["frequent", "rare"])
    right, wrong = (image.get_array().compressed().tolist() for image in axes.images)
    assert right == [0.9, 0.5]
    assert wrong == [0.1, 0.5]
