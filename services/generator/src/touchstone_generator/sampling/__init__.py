"""How the generator samples: seeds, schedulers, text to image, image to image."""
