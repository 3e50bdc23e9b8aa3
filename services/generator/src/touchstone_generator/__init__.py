"""Prompts and text-to-image sampling with diffusers."""
