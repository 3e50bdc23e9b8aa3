"""Loading CLIP encoders by reference, decoding images safely, embedding images and texts."""
