"""The tests of journals of other kinds, with LangGraph's store on PostgreSQL."""

from tests.traffic.test_journal import *  # noqa: F403
