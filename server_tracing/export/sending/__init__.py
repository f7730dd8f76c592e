"""From a batch to its backend: in the reader's own thread, or by a sender with a queue and a spool behind."""
