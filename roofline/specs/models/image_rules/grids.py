"""Grids of tiles: which there are, and which is nearest to a picture's shape."""

from functools import lru_cache
from itertools import product


@lru_cache(maxsize=64)
def grids(fewest: int, most: int) -> tuple[tuple[int, int], ...]:
    """Columns and rows of grids of `fewest` to `most` tiles; fewest tiles first, then columns."""
    sides = range(1, most + 1)
    found = [grid for grid in product(sides, sides) if fewest <= grid[0] * grid[1] <= most]
    return tuple(sorted(found, key=lambda grid: grid[0] * grid[1]))


def nearest_grid(width: int, height: int, tile_px: int, fewest: int, most: int) -> tuple[int, int]:
    """Columns and rows of the grid whose shape is nearest to the picture's.

    Of grids that are as near the one with more tiles, as long as they cover less than twice the
    picture's area.
    """
    best, nearest = (1, 1), float("inf")
    for across, down in grids(fewest, most):
        distance = abs(width / height - across / down)
        covered = tile_px**2 * across * down
        if distance < nearest or (distance == nearest and width * height > 0.5 * covered):
            best, nearest = (across, down), distance
    return best
