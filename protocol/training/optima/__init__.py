"""Recipes whose model is the one optimum of its subset: ridge, logistic and kernel regression. They take no seed."""
