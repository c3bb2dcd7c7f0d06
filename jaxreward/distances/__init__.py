"""How different two rewards are: distances that do not see what no policy can be told by.

Exact on tabular MDPs, pure, under `jit` and `vmap`; see `jaxreward.distances.starc.starc_distance` first.
"""

from jaxreward.distances.canonical import CANONICALISATIONS, canonicalise
from jaxreward.distances.equivalence import npec_distance
from jaxreward.distances.norms import NORMS, norm_of
from jaxreward.distances.pearson import erc_distance, pearson_distance, spearman_distance
from jaxreward.distances.proxy import least_improvement, least_regularisation, proxy_correlation
from jaxreward.distances.recovery import LinearReward, Recovery, cosine, linear_reward, recovery
from jaxreward.distances.regret import regret, regret_bound, regret_to_uniform
from jaxreward.distances.starc import epic_distance, standardise, starc_distance

__all__ = [
    "CANONICALISATIONS",
    "NORMS",
    "LinearReward",
    "Recovery",
    "canonicalise",
    "cosine",
    "epic_distance",
    "erc_distance",
    "least_improvement",
    "least_regularisation",
    "linear_reward",
    "norm_of",
    "npec_distance",
    "pearson_distance",
    "proxy_correlation",
    "recovery",
    "regret",
    "regret_bound",
    "regret_to_uniform",
    "spearman_distance",
    "standardise",
    "starc_distance",
]
