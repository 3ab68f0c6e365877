"""How a gate that opens itself behaves: on streams of recorded questions without models, and live."""
