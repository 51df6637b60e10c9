"""The bus beside its peers: the same loads, real processes, one run."""
