"""The settings that a domain's YAML has, for each arm of a search."""

CONFIGURED = {
    "alone": "alone",
    "federated without privacy": "federated",
    "pooled without privacy": "pooled",
}


def configured(config):
    """Rounds, learning rate and clipping norm of every arm, as composed."""
    training, privacy = config["training"], config["privacy"]
    chosen = {
        "federated": (training["rounds"], training["learning_rate"], privacy["clipping_norm"])
    }
    for arm, key in CONFIGURED.items():
        own = config["baselines"][key]
        clip = own["clipping_norm"] if arm == "alone" else None
        chosen[arm] = (own["rounds"], own["learning_rate"], clip)
    return chosen
