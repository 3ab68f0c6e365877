"""What real traffic teaches: a journal of questions, shadow runs, audits, and a gate that opens on their evidence."""
