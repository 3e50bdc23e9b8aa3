"""Tuning a generator on few images: LoRA on the UNet's attention."""
