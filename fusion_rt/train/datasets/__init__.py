"""Public recordings of homes and people: readers into packets and truth, and the heads that learn from
them."""
