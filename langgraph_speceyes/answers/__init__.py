"""What an answer says: its words, the option it gives, yes or no; and whether two answers say the same."""
