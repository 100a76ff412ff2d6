"""The commented `site.yaml` that comes with a site's bundle."""


def site_yaml(name: str, address: str) -> str:
    """Write a site's example configuration.

    Parameters
    ----------
    name
        The site's name, of the roster.
    address
        Name or address of the coordinator, as it stands in an https address.
    """
    return f"""\
# What the site {name} is and what it allows. The site decides: nothing that the coordinator sends
# widens what stands here. Paths are relative to this file.
# Check it, and what a run would cost, without spending anything:
#   tacit-client site=PATH/site.yaml check=true

# The site's name in the roster; its keys belong to it.
name: {name}

# Where the coordinator is, with the port.
server: https://{address}:9443

# Folder of the keys and certificates that tacit-provision made.
bundle: .

# The only thing this site ever trains: the words of tacit-simulate, a list.
experiment: [domain=hospitals]

# The ledger's name for the data. What is spent is counted under it, whichever run, coordinator or
# path asks: keep the name as long as the people in the data are the same, however the data grow.
data_set: {name}-data

# Folder of the ledger, which holds what was ever spent. Keep it, and its copies, when everything
# else is installed anew: without it the site cannot know what is left.
ledger: ./ledger

# true only where nobody's privacy is at stake (made-up or public data): then a run may have noise
# that somebody can predict, or none.
test_data: false

# Seed of the noise, for test data only; null: noise from the operating system, which nobody knows.
noise_seed: null

limits:
  # The most ε that one run may cost, at its δ.
  epsilon_per_run: 1.0

  # The most δ that one run may have.
  delta_per_run: 1.0e-4

  # The most ε that all runs together may ever cost, at lifetime_delta.
  lifetime_epsilon: 3.0

  # The δ at which lifetime_epsilon is counted. It is fixed with the ledger's first row.
  lifetime_delta: 1.0e-4

  # Least noise of any step, as a multiple of the clipping norm.
  least_noise_multiplier: 1.0

  # Noise that the sites of a run make together (privacy=shared_noise) may cost so much ε in one run
  # should every other site give its share away; null: this site takes part in no such run. It is of
  # each run: lifetime_epsilon counts the others' shares, and no limit here is on what all runs
  # together would cost without them.
  epsilon_alone_per_run: null

  # Of how many other sites the share of such noise is not counted on.
  colluders: 1

  # Most rounds of a run; null: any number.
  most_rounds: 200

  # Models that may be trained: any, or a list of their SHA-256.
  models: any

  # Strategies that a run may have: any, or a list of their names.
  strategies: any

# Among how many other sites' updates a secure sum must hide this site's; or auto: two, where the
# roster has four of the domain's sites or more; or "off": the coordinator may see it by itself.
# With three sites auto demands none. 2 does, and the coordinator then has to say
# secure_aggregation=required: such a sum bears nobody missing and nobody who works with it.
secure_aggregation: auto

# Where to train: auto, cpu, cuda or cuda:1.
device: auto

# Share of the GPU's memory that this site may take; several sites may share one GPU.
gpu_memory_share: 1.0

# Seconds between two signs of life; the coordinator's server.heartbeat must not be less.
heartbeat: 30

# How to log: text for people, json for one JSON object a line.
log: text
"""
