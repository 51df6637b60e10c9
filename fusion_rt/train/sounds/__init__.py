"""Training the head of sound events. Import from the modules."""
