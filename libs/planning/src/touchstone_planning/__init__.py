"""The rules of experiments: pure functions and values, no storage, no queue.

`arms/` holds what each kind of arm needs and plans; `fairness.py` refuses what cannot be compared; `plan.py` makes the
steps; `state.py` and `transitions.py` say how a step changes."""
