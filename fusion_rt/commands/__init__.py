"""What a user types: each module parses one family of commands, calls the library, prints its answer."""
