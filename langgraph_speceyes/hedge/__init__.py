"""Front end and agent at once; all that leans on LangGraph's insides is here."""
