"""What searches for many different behaviours have in common: archives, novelty, grids and descriptors of paths.

All are pure functions over arrays of fixed shape, for one run; `vmap` gives as many as there are seeds.
"""

from jaxreward.quality_diversity.archive import Archive, append, empty_archive, is_stored
from jaxreward.quality_diversity.grid import (
    Grid,
    accepted,
    cell_index,
    centroid_index,
    cvt_centroids,
    empty_grid,
    insert,
    sample_elites,
)
from jaxreward.quality_diversity.novelty import Neighbours, nearest, novelty
from jaxreward.quality_diversity.pareto import crowding_distance, non_dominated_rank, nsga2_order
from jaxreward.quality_diversity.reservoir import Reservoir, empty_reservoir, is_sampled, offer
from jaxreward.quality_diversity.signatures import log_signature, lyndon_words, signature

__all__ = [
    "Archive",
    "Grid",
    "Neighbours",
    "Reservoir",
    "accepted",
    "append",
    "cell_index",
    "centroid_index",
    "crowding_distance",
    "cvt_centroids",
    "empty_archive",
    "empty_grid",
    "empty_reservoir",
    "insert",
    "is_sampled",
    "is_stored",
    "log_signature",
    "lyndon_words",
    "nearest",
    "non_dominated_rank",
    "novelty",
    "nsga2_order",
    "offer",
    "sample_elites",
    "signature",
]
