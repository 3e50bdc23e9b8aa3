"""The verdict: pure statistics over correctness arrays. Method and evidence in docs/verdict.md."""
