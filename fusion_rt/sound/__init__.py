"""Sound at home: from a microphone's samples to levels, speech, events and intents. All of it is local.

Import from the modules: what needs the extra `voice` is imported on demand."""
