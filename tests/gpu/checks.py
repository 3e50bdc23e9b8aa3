"""The table of checks: what runs, in which order, as which worker sets torch up, and how long each may take."""

from gpu import (
    captions,
    embedding,
    memory,
    probes,
    recipes,
    sampling,
    speed_compiled,
    speed_embedding,
    speed_generation,
    speed_training,
    starting,
    tuning,
)
from gpu.runner import Check
from touchstone_encoders import devices as encoder_devices
from touchstone_generator import devices as generator_devices

TRAINER, GENERATOR = encoder_devices.configure_torch, generator_devices.configure_torch
"""The retrieval worker sets torch up as the trainer does."""
CHECKS = (
    Check("starting: devices", starting.devices, TRAINER, 6, 5),
    Check("starting: flags", starting.flags, TRAINER, 10, 5),
    Check("starting: attention", starting.strict_attention, TRAINER, 4, 2),
    Check("embedding: parity", embedding.parity, TRAINER, 30, 22),
    Check("embedding: bytes", embedding.bytes_whatever_the_split, TRAINER, 25, 9),
    Check("recipes: parity", recipes.parity, TRAINER, 40, 26),
    Check("recipes: bytes", recipes.same_weights_twice, TRAINER, 30, 13),
    Check("probes", probes.parity_and_bytes, TRAINER, 15, 6),
    Check("sampling: parity", sampling.parity, GENERATOR, 25, 16),
    Check("sampling: bytes", sampling.bytes_whatever_the_split, GENERATOR, 12, 6),
    Check("tuning", tuning.parity_and_bytes, GENERATOR, 15, 6),
    Check("captions", captions.parity_and_bytes, GENERATOR, 6, 2),
    Check("memory", memory.a_step_too_large, TRAINER, 5, 3),
    Check("speed: embedding, tower", speed_embedding.tower, TRAINER, 12, 4),
    Check("speed: embedding, files", speed_embedding.files_to_vectors, TRAINER, 15, 1),
    Check("speed: training, updates", speed_training.updates, TRAINER, 15, 3),
    Check("speed: training, epochs", speed_training.epochs, TRAINER, 25, 1),
    Check("speed: generation, UNet", speed_generation.unet, GENERATOR, 25, 3),
    Check("speed: generation, images", speed_generation.prompts_to_images, GENERATOR, 20, 1),
    Check("speed: compiled, tower", speed_compiled.tower, GENERATOR, 25, 1),
    Check("speed: compiled, UNet", speed_compiled.unet, GENERATOR, 50, 1),
)
"""Correctness first, so that what it says is there even where time runs out."""
