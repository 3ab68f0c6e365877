"""How a gate that opens itself behaves on streams of recorded questions: the same state, without models."""
