"""The judge: a light worker that turns finished evaluations into results, scaling laws and a verdict."""
