"""Secure sums: the server learns what the sites' vectors add up to, and not what any of them is.

The protocol is that of Bonawitz et al. 2017 (doi:10.1145/3133956.3133982), figure 4, with signed
keys and a round of consistency against a server that lies; above 64 sites each masks with the
neighbours on a ring as in Bell et al. 2020 (IACR eprint 2020/704). `site.Site` and `server.Server`
are one round each, without transport and without clocks: they take bytes and give bytes.

A site that advertised is left out when it does not share, a site that shared when it sends no
vector; one that sent its vector is in the sum, whether or not it then agrees and reveals. At every
stage more than two thirds of the cohort must be there.

What it rests on: fewer than a third of the cohort work for the server; the cohort's identities are
those that every site pinned; a site runs one `Site` for a round; and above 64 sites
`assumptions.Assumptions`. What it does not do: the sum itself may tell something of one site, most
of all beside the sum of another round without it. That is what noise is for.
"""
