"""The plan of a batch: which pods, with which files and items, in which order, for how much."""

from comfypod.batch.planning.demands import Demands
from comfypod.batch.planning.learned import LearnedSpeeds, kind_of, read_learned, write_learned
from comfypod.batch.planning.offers import builtin_offers, parse_offers
from comfypod.batch.planning.plan import make_plan
from comfypod.batch.planning.workload import Workload, gather, workload_of

__all__ = [
    "Demands",
    "LearnedSpeeds",
    "Workload",
    "builtin_offers",
    "gather",
    "kind_of",
    "make_plan",
    "parse_offers",
    "read_learned",
    "workload_of",
    "write_learned",
]
