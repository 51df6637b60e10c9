"""Many logs: each is one piece of work, done here in turn or by processes of Ray, with the same results."""
