"""From a sensor's word to the broker's: how long it takes, in real processes."""
