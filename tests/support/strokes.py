"""The ten digits as handwritten strokes: lists of points in a unit square, y downwards."""

import numpy as np

Stroke = list[tuple[float, float]]


def arc(x: float, y: float, rx: float, ry: float, begin: float, end: float) -> Stroke:
    """Return an arc of an ellipse between two angles in degrees, clockwise from the right."""
    turns = np.radians(np.linspace(begin, end, max(3, round(abs(end - begin) / 20) + 1)))
    return [(float(x + rx * np.cos(t)), float(y + ry * np.sin(t))) for t in turns]


DIGITS: list[list[Stroke]] = [
    [arc(0.5, 0.5, 0.22, 0.34, -90, 270)],
    [[(0.54, 0.14), (0.47, 0.86)]],
    [[*arc(0.49, 0.33, 0.2, 0.19, -170, 30), (0.28, 0.83), (0.75, 0.83)]],
    [[*arc(0.48, 0.32, 0.2, 0.17, -150, 90), *arc(0.48, 0.67, 0.23, 0.18, -90, 150)]],
    [[(0.36, 0.16), (0.3, 0.52), (0.72, 0.52)], [(0.66, 0.18), (0.62, 0.86)]],
    [[(0.7, 0.16), (0.38, 0.16), (0.35, 0.45), *arc(0.47, 0.63, 0.21, 0.21, -110, 140)]],
    [[(0.62, 0.13), *arc(0.55, 0.55, 0.23, 0.33, -130, -180), *arc(0.5, 0.66, 0.19, 0.19, 180, -180)]],
    [[(0.27, 0.18), (0.72, 0.18), (0.46, 0.86)]],
    [
        [
            *arc(0.5, 0.32, 0.17, 0.17, -60, -270),
            *arc(0.5, 0.67, 0.2, 0.18, -90, 270),
            *arc(0.5, 0.32, 0.17, 0.17, 90, -60),
        ]
    ],
    [[*arc(0.5, 0.34, 0.19, 0.19, 0, -360), (0.69, 0.34), (0.63, 0.86)]],
]
