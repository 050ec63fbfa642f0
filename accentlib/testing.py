"""For tests of your own: is a model fit to be explained?"""

from accentlib.own.check import check_recommender

__all__ = ["check_recommender"]
