"""The dashboard: pages rendered on the server from what the API answers, made lively by two small scripts."""
