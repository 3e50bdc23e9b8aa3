"""HTTP gateway, experiment rules, conductor, results, verdict and dashboard."""
