"""What is one kernel and what is not."""

FUSIONS = {
    "norm": "a normalisation is one kernel: upcast, statistics, scale, weight and bias",
    "linear": "a matmul with its bias and dequantization; strided inputs are read where they lie",
    "kv-cache": "v_proj and the rotation of k write straight into the KV cache",
    "rotary": "q and k are rotated by one kernel; the cosines and sines come from one table",
    "flash": "flash attention is one kernel: scores and probabilities stay on chip",
    "eager": "eager attention is QKᵀ with scale and mask, softmax, PV; no operand is copied",
    "act_fn": "an activation function is one kernel, a gated one with its product",
    "prompt": "the connector writes its rows into the prompt; only text tokens are looked up",
    "vision-embeddings": "class token and position embedding are added by one kernel",
    "index": "ids, positions and rotary frequencies are not counted; masks are made in place",
    "scale": "a constant factor or a soft cap is applied by the kernel that writes what it scales",
    "experts": "a router's softmax and top-k are one kernel, the experts' MLPs another",
    "residual": "a residual add is a kernel of its own, not fused with the norm behind it",
}
"""What is one kernel and what is not, in one place: the licence of each byte left out."""
