"""In front of the agent: judge, speculator, gate and what they share. Each phase is a small object with one verb."""
