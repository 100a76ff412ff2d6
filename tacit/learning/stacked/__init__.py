"""Many sites trained as one batched computation, per-example clipping included."""
