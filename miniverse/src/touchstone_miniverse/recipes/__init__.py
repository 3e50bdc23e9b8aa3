"""How the miniverse's models were made: one flat file per model."""
