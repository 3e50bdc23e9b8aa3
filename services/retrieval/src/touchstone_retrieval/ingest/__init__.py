"""Reading image sources without trusting them."""
