"""What real traffic teaches: a journal of questions, shadow runs, audits, and a gate that opens on their evidence."""

from langgraph_speceyes.traffic.attach import adrain, drain
from langgraph_speceyes.traffic.journal import Journal
from langgraph_speceyes.traffic.opened import open_journal
from langgraph_speceyes.traffic.opening import SelfOpening
from langgraph_speceyes.traffic.postgres import PostgresJournal
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.recorder import Recorder
from langgraph_speceyes.traffic.sqlite import SQLiteJournal
from langgraph_speceyes.traffic.store import StoreJournal

__all__ = [
    "Journal",
    "PostgresJournal",
    "Record",
    "Recorder",
    "SQLiteJournal",
    "SelfOpening",
    "StoreJournal",
    "adrain",
    "drain",
    "open_journal",
]
