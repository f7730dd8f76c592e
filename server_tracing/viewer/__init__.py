"""Room 4: what was recorded, for people. Runs in its own process and only reads.

Nothing here writes to the store, adopts a journal or knows a server. Questions go to `store.View`; what
runs this moment and what workers have counted is handed in. Each command's module turns answers into
lines for a `Screen`; what requests carried is escaped before it gets there.
"""
