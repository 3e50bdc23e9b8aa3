"""How fair the miniverse is: what the generator draws, beside real pictures, in the eyes of an independent encoder."""
