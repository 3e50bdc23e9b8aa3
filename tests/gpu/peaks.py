"""Peak arithmetic rates of common cards, dense, as their makers state them."""

FP32, HALF = "fp32", "half"
PEAKS: dict[str, dict[str, float]] = {
    # NVIDIA H100 datasheet; SXM, then PCIe. Rates with sparsity halved.
    "NVIDIA H100 80GB HBM3": {FP32: 66.9, HALF: 989.4},
    "NVIDIA H100 PCIe": {FP32: 51.2, HALF: 756.5},
    # NVIDIA H200 datasheet
    "NVIDIA H200": {FP32: 66.9, HALF: 989.4},
    # NVIDIA A100 datasheet
    "NVIDIA A100-SXM4-40GB": {FP32: 19.5, HALF: 312.0},
    "NVIDIA A100-SXM4-80GB": {FP32: 19.5, HALF: 312.0},
    "NVIDIA A100-PCIE-40GB": {FP32: 19.5, HALF: 312.0},
    "NVIDIA A100 80GB PCIe": {FP32: 19.5, HALF: 312.0},
    # NVIDIA L40S and L4 datasheets; rates with sparsity halved
    "NVIDIA L40S": {FP32: 91.6, HALF: 362.0},
    "NVIDIA L4": {FP32: 30.3, HALF: 121.0},
    # NVIDIA Ada GPU architecture whitepaper, fp16 and bf16 with fp32 sums
    "NVIDIA GeForce RTX 4090": {FP32: 82.6, HALF: 165.2},
}
"""TFLOP/s by the name torch gives the card; `half`: bf16 and fp16 on matrix units, `fp32`: without TF32."""


def peak_tflops(card: str, precision: str) -> float | None:
    """Of `fp32`, `bf16` or `fp16`; None for a card that is not in the table, about which nothing is claimed."""
    return PEAKS.get(card, {}).get(FP32 if precision == FP32 else HALF)
