"""The home's engine on simulated homes: rooms, people, events, with each modality alone and each lost."""
