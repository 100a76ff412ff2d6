"""Who is who: keys, certificates, the roster of sites, and the bundles that hold them."""
